#include "swage/model/smoothing.h"

namespace swage::model {
namespace {

SmoothingPair from_norm(const NormDescription& norm, std::vector<std::string> consumers) {
  return {.producer = norm.name, .norm = true, .bias = norm.kind == NormKind::Layer, .consumers = std::move(consumers)};
}

bool scales_pass(const MlpDescription& mlp) { return mlp.gate || mlp.activation == Activation::Relu; }

void add_inputs(const MlpDescription& mlp, std::vector<std::string>& out) {
  if (mlp.gate) out.push_back(mlp.gate->name);
  out.push_back(mlp.up.name);
}

void add_pair_within(const MlpDescription& mlp, std::vector<SmoothingPair>& out) {
  if (scales_pass(mlp)) out.push_back({.producer = mlp.up.name, .bias = mlp.up.bias, .consumers = {mlp.down.name}});
}

}  // namespace

std::vector<SmoothingPair> smoothing_pairs(const BlockDescription& block) {
  std::vector<SmoothingPair> out;
  const AttentionDescription& attention = block.attention;
  if (!block.norm_after) out.push_back(from_norm(block.attention_norm, {attention.query.name, attention.key.name, attention.value.name}));
  SmoothingPair values{.producer = attention.value.name, .bias = attention.value.bias, .cached = true, .consumers = {attention.output.name}};
  values.run = attention.head_size;
  values.repeats = attention.heads / attention.kv_heads;
  out.push_back(std::move(values));
  const auto* moe = std::get_if<MoeDescription>(&block.mlp);
  std::vector<std::string> readers;
  if (moe) {
    readers.push_back(moe->router.name);
    for (const MlpDescription& expert : moe->experts) add_inputs(expert, readers);
  } else {
    add_inputs(std::get<MlpDescription>(block.mlp), readers);
  }
  if (!block.norm_after) out.push_back(from_norm(block.mlp_norm, std::move(readers)));
  if (!moe) add_pair_within(std::get<MlpDescription>(block.mlp), out);
  for (size_t e = 0; moe && e < moe->experts.size(); ++e) add_pair_within(moe->experts[e], out);
  return out;
}

}  // namespace swage::model
