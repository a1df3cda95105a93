#include "swage/views/rotated_weights.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/format/weight_source.h"

namespace swage::pipeline {
namespace {

using modifiers::RotationRequest;
using testing::HasSubstr;

// A golden checkpoint, other biases and norms than it has if asked for.
class Golden : public checkpoint::WeightSource {
 public:
  explicit Golden(const std::string& name)
      : reader_(std::filesystem::path(SWAGE_TEST_DATA) / "model" / name),
        weights_(reader_),
        config(reader_.config()) {}
  std::vector<int64_t> shape(const std::string& name) const override {
    return name.ends_with("_proj.bias") ? std::vector{weights_.shape(name.substr(0, name.size() - 4) + "weight")[0]}
                                        : weights_.shape(name);
  }
  at::Tensor load(const std::string& name) const override {
    at::manual_seed(int64_t(std::hash<std::string>()(name) % 1000));
    if (name.ends_with("norm.weight")) return at::rand(weights_.shape(name)) + 0.5;
    if (name.ends_with("_proj.bias") && config.get_string("model_type", "") != "opt")
      return at::randn({shape(name)[0]});
    return weights_.load(name);
  }
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string&) const override { return {}; }
  void prefetch(const std::vector<std::string>&) const override {}

 private:
  const checkpoint::Reader reader_;
  const format::CheckpointWeights weights_;

 public:
  Json config;
};

at::Tensor logits_of(model::Model& model, const checkpoint::WeightSource& weights) {
  const at::Tensor ids_NL = (at::arange(3 * 20).view({3, 20}) * 37 % 128).to(at::kLong);
  model.load_ends(weights);
  std::vector<model::Flow> flows = eval::embed_rows(model, ids_NL);
  eval::run_blocks(model, weights, flows, Context(), [](int64_t) {});
  std::vector<at::Tensor> rows;
  for (const model::Flow& flow : flows) rows.push_back(model.logits(flow.hidden_TD));
  return at::cat(rows);
}

// Largest difference of the logits of the rotated model relative to the largest logit.
double difference(const Golden& golden, const RotationRequest& request) {
  const auto plain = model::make_model(golden.config, golden);
  const RotatedWeights weights(golden, *plain, request, 11);
  const auto rotated = model::make_model(config_of_rotated(golden.config, weights), weights);
  const at::Tensor expected = logits_of(*plain, golden), found = logits_of(*rotated, weights);
  return ((found - expected).abs().max() / expected.abs().max()).item<double>();
}

// Three layers are some 30 chained roundings of 2^-24 on either side; sums over up to 64 columns multiply each by their
// condition, about 10.
constexpr double kTolerance = 2 * 30 * 10 * 0x1p-24;

std::vector<RotationRequest> requests() {
  using solvers::RotationKind;
  std::vector<RotationRequest> out;
  for (const RotationKind kind : {RotationKind::Hadamard, RotationKind::RandomHadamard, RotationKind::RandomMatrix}) {
    for (const bool each_layer : {false, true})
      out.push_back({.stream = true, .heads = true, .kind = kind, .each_layer = each_layer});
    out.push_back({.stream = true, .kind = kind});
    out.push_back({.heads = true, .kind = kind});
    out.push_back({.stream = true, .heads = true, .kind = kind, .block_size = 4});
  }
  return out;
}

TEST(RotatedWeights, KeepTheFunctionOfEveryArchitectureWithRmsNorm) {
  for (const char* name : {"llama32_tied", "qwen3", "mixtral", "qwen3_moe_fused"}) {
    if (!std::filesystem::exists(std::filesystem::path(SWAGE_TEST_DATA) / "model" / name / "model.safetensors"))
      continue;
    const Golden golden(name);
    for (const RotationRequest& request : requests()) EXPECT_LE(difference(golden, request), kTolerance) << name;
  }
}

// What the reader computes, alone and with what is folded.
std::vector<RotationRequest> online_requests() {
  using solvers::RotationKind;
  const std::vector<std::string> linear = {"Linear"}, head = {"lm_head"};
  std::vector<RotationRequest> out;
  for (const RotationKind kind : {RotationKind::Hadamard, RotationKind::RandomHadamard, RotationKind::RandomMatrix}) {
    out.push_back({.keys = true, .kind = kind});
    out.push_back({.inner = true, .kind = kind});
    out.push_back({.stream = true, .heads = true, .keys = true, .inner = true, .kind = kind, .block_size = 4});
    out.push_back({.inputs = true, .targets = linear, .ignore = head, .kind = kind});
    out.push_back({.outputs = true, .targets = linear, .ignore = head, .kind = kind});
    out.push_back({.inputs = true, .outputs = true, .targets = linear, .ignore = head, .kind = kind, .block_size = 8});
  }
  out.push_back({.inputs = true,
                 .outputs = true,
                 .targets = {"re:.*[qk]_proj$", "re:.*o(ut)?_proj$"},
                 .kind = RotationKind::RandomHadamard});
  return out;
}

TEST(RotatedWeights, KeepTheFunctionWhereTheReaderComputes) {
  for (const char* name : {"llama32_tied", "mixtral", "qwen3_moe_fused", "opt"}) {
    const Golden golden(name);
    for (const RotationRequest& request : online_requests()) {
      if (std::string(name) == "opt" && request.stream) continue;
      const bool whole_experts = request.inner || request.inputs || request.outputs;  // of 24 columns inside
      if (std::string(name) == "qwen3_moe_fused" && whole_experts && request.kind == solvers::RotationKind::Hadamard &&
          !request.block_size)
        continue;
      EXPECT_LE(difference(golden, request), kTolerance)
          << name << " " << request.keys << request.inner << request.inputs << request.outputs;
    }
  }
}

// A matrix that is an identity by itself would keep the function as well.
TEST(RotatedWeights, TheReaderHasSomethingToDo) {
  const Golden golden("llama32_tied");
  const auto plain = model::make_model(golden.config, golden);
  const at::Tensor expected = logits_of(*plain, golden);
  for (const RotationRequest& request : {RotationRequest{.inner = true},
                                         {.inputs = true, .targets = {"Linear"}, .ignore = {"lm_head"}},
                                         {.outputs = true, .targets = {"Linear"}, .ignore = {"lm_head"}}}) {
    const RotatedWeights weights(golden, *plain, request, 11);
    class Alone : public Golden {  // the weights without what is computed
     public:
      explicit Alone(const RotatedWeights& weights) : Golden("llama32_tied"), weights_(weights) {}
      at::Tensor load(const std::string& name) const override { return weights_.load(name); }

     private:
      const RotatedWeights& weights_;
    };
    const at::Tensor found = logits_of(*plain, Alone(weights));
    EXPECT_GT(((found - expected).norm() / expected.norm()).item<double>(), 0.05);
  }
}

TEST(RotatedWeights, SayWhatTheReaderComputes) {
  const Golden golden("llama32_tied");
  const auto model = model::make_model(golden.config, golden);
  const RotatedWeights spin(
      golden, *model, {.stream = true, .keys = true, .inner = true, .kind = solvers::RotationKind::RandomHadamard}, 1);
  EXPECT_EQ(
      to_json(spin.online().groups()).dump(),
      R"({"config_groups":{)"
      R"("R3":{"apply":[{"ignore":[],"inverse":false,"location":"q_attn","targets":["re:.*self_attn$"]},{"ignore":[],"inverse":false,"location":"k_cache","targets":["re:.*self_attn$"]}],)"
      R"("head_dim":8,"precision":"torch.float32","randomize":false,"requires_grad":false,"type":"random-hadamard"},)"
      R"("R4":{"apply":[{"ignore":[],"inverse":false,"location":"input","targets":["re:.*down_proj$"]},{"ignore":[],"inverse":true,"location":"weight_input","targets":["re:.*down_proj$"]}],)"
      R"("head_dim":null,"precision":"torch.float32","randomize":false,"requires_grad":false,"type":"random-hadamard"}}})");
  std::vector<std::string> names;
  for (const io::TensorSpec& spec : spin.online().tensors()) names.push_back(spec.name);
  EXPECT_EQ(names, (std::vector<std::string>{"model.layers.0.self_attn.R3_q_attn.weight",
                                             "model.layers.0.mlp.down_proj.R4_input.weight"}));
  const RotatedWeights quip(golden, *model,
                            {.inputs = true,
                             .targets = {"Linear"},
                             .ignore = {"lm_head"},
                             .kind = solvers::RotationKind::RandomHadamard,
                             .precision = "float64"},
                            1);
  EXPECT_EQ(quip.online().tensors()[0].name, "model.layers.0.self_attn.q_proj.v_input.weight");
  EXPECT_EQ(quip.online().tensors()[0].dtype, io::Dtype::F64);
  EXPECT_EQ(quip.transform({"model.layers.1.mlp.up_proj"}, scheme::TransformLocation::Input, 32),
            quip.transform({"model.layers.0.self_attn.q_proj"}, scheme::TransformLocation::Input, 32));
  EXPECT_EQ(quip.transform({"lm_head"}, scheme::TransformLocation::Input, 32), nullptr);
  EXPECT_FALSE(quip.unties_head());
  const Golden mixtral("mixtral"), opt("opt");
  const RotatedWeights experts(mixtral, *model::make_model(mixtral.config, mixtral), {.inner = true}, 1),
      relu(opt, *model::make_model(opt.config, opt), {.inner = true}, 1);
  EXPECT_EQ(experts.online().groups()[0].second.apply[0].targets, std::vector<std::string>{"re:.*w2$"});
  EXPECT_EQ(relu.online().groups()[0].second.apply[0].targets, std::vector<std::string>{"re:.*fc2$"});
}

TEST(RotatedWeights, BiasesOfValuesAndOfWhatIsAddedToTheStreamTurnToo) {
  Golden golden("llama32_tied");
  golden.config.set("attention_bias", true);
  golden.config.set("mlp_bias", true);
  const RotationRequest both{
      .stream = true, .heads = true, .kind = solvers::RotationKind::RandomHadamard, .each_layer = true};
  EXPECT_LE(difference(golden, both), kTolerance);
  golden.config.set("model_type", "qwen2");
  EXPECT_LE(difference(golden, both), kTolerance);
  EXPECT_LE(difference(golden, {.heads = true}), kTolerance);
  EXPECT_LE(difference(golden, {.inputs = true,
                                .outputs = true,
                                .targets = {"Linear"},
                                .ignore = {"lm_head"},
                                .kind = solvers::RotationKind::RandomMatrix}),
            kTolerance);
}

TEST(RotatedWeights, ChangeWhatTheySay) {
  const Golden golden("llama32_tied");
  const auto model = model::make_model(golden.config, golden);
  const RotatedWeights both(golden, *model, {.stream = true, .heads = true}, 1),
      heads(golden, *model, {.heads = true}, 1);
  const std::string q = "model.layers.0.self_attn.q_proj.weight", v = "model.layers.2.self_attn.v_proj.weight",
                    o = "model.layers.2.self_attn.o_proj.weight";
  const std::string norm = "model.layers.1.input_layernorm.weight", embedding = "model.embed_tokens.weight",
                    head = "lm_head.weight";
  EXPECT_TRUE(both.load(norm).equal(at::ones({32})));
  EXPECT_TRUE(heads.load(norm).equal(golden.load(norm)));
  EXPECT_TRUE(heads.load(q).equal(golden.load(q)));
  for (const std::string& name : {v, o}) EXPECT_FALSE(heads.load(name).equal(golden.load(name)));
  EXPECT_TRUE(both.unties_head() && !heads.unties_head());
  EXPECT_FALSE(config_of_rotated(golden.config, both).get_bool("tie_word_embeddings", true));
  EXPECT_TRUE(config_of_rotated(golden.config, heads).get_bool("tie_word_embeddings", false));
  EXPECT_EQ(both.shape(head), golden.shape(embedding));
  const ops::Transform rotation = solvers::rotation(solvers::RotationKind::Hadamard, 32, 0);
  EXPECT_TRUE(both.load(embedding).equal(rotation.columns(golden.load(embedding))));
  EXPECT_TRUE(both.load(head).equal(rotation.columns(golden.load(embedding) * golden.load("model.norm.weight"))));
}

TEST(RotatedWeights, AreRoundedWhereTheOutputStoresThemSo) {
  const Golden golden("llama32_tied");
  const auto model = model::make_model(golden.config, golden);
  RotatedWeights weights(golden, *model, {.stream = true}, 1);
  const std::string name = "model.embed_tokens.weight";
  const at::Tensor exact = weights.load(name);
  weights.round_to({{name, at::kBFloat16}});
  EXPECT_FALSE(weights.load(name).equal(exact));
  EXPECT_TRUE(weights.load(name).equal(exact.to(at::kBFloat16).to(at::kFloat)));
}

void expect_refused(const Golden& golden, const RotationRequest& request, ErrorKind kind, const char* part) {
  const auto model = model::make_model(golden.config, golden);
  try {
    RotatedWeights(golden, *model, request, 1);
    ADD_FAILURE() << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind);
    EXPECT_THAT(e.what(), HasSubstr(part));
  }
}

TEST(RotatedWeights, WhatIsNoIdentityIsRefused) {
  expect_refused(Golden("opt"), {.stream = true}, ErrorKind::Unsupported,
                 "is a LayerNorm, whose mean is not the same after a rotation");
  expect_refused(Golden("opt_350m"), {.stream = true}, ErrorKind::Unsupported, "is a LayerNorm");
  EXPECT_LE(difference(Golden("opt"), {.heads = true}), kTolerance);  // R2 asks for no norm
  const Golden llama("llama32_tied");
  expect_refused(llama, {.stream = true, .block_size = 12}, ErrorKind::InvalidArgument,
                 "rotation R1: 32 columns do not split into blocks of 12");
  const std::vector<std::string> all = {"Linear"}, head = {"lm_head"};
  expect_refused(llama, {.inner = true, .block_size = 7}, ErrorKind::InvalidArgument,
                 "rotation R4: 64 columns of model.layers.0.mlp.down_proj do not split into blocks of 7");
  expect_refused(llama, {.inputs = true, .targets = all}, ErrorKind::Unsupported,
                 "lm_head: embedding and head of this model share one table");
  expect_refused(llama, {.inputs = true, .targets = {"Embedding"}}, ErrorKind::Unsupported,
                 "model.embed_tokens: embeddings and routers are not rotated while the model runs");
  expect_refused(llama, {.inputs = true, .targets = {"re:.*qq_proj"}}, ErrorKind::InvalidArgument,
                 "QuIPModifier: targets matches no module of this model: re:.*qq_proj");
  expect_refused(llama, {.stream = true, .inputs = true, .targets = all, .ignore = head}, ErrorKind::Unsupported,
                 "model.layers.0.self_attn.q_proj: its input would be rotated twice");
  expect_refused(Golden("mixtral"), {.outputs = true, .targets = {"re:.*gate$"}}, ErrorKind::Unsupported,
                 "embeddings and routers are not rotated");
  expect_refused(Golden("qwen3_moe_fused"),
                 {.inputs = true, .targets = {"re:.*experts.0.*"}, .kind = solvers::RotationKind::RandomHadamard},
                 ErrorKind::Unsupported, "but not for both, which are parts of it");
  expect_refused(llama, {.heads = true, .block_size = 16}, ErrorKind::InvalidArgument,
                 "rotation R2: 8 columns do not split into blocks of 16");
}

TEST(RotatedWeights, AHeadWithoutAHadamardMatrixIsRefused) {
  Golden golden("llama32_tied");
  golden.config.set("head_dim", 6);
  expect_refused(golden, {.heads = true}, ErrorKind::InvalidArgument,
                 "rotation R2 of 6 columns; transform_type random-matrix takes any size");
  expect_refused(golden, {.keys = true}, ErrorKind::InvalidArgument,
                 "rotation R3 of 6 columns: the hadamard matrices of readers have powers of two");
  expect_refused(golden, {.keys = true, .kind = solvers::RotationKind::RandomHadamard}, ErrorKind::InvalidArgument,
                 "rotation R3 of 6 columns; transform_type random-matrix takes any size");
  const auto model = model::make_model(golden.config, golden);
  EXPECT_NO_THROW(RotatedWeights(golden, *model, {.heads = true, .kind = solvers::RotationKind::RandomMatrix}, 1));
}

TEST(RotatedWeights, AQuantizedSourceIsRefused) {
  EXPECT_NO_THROW(check_rotatable({}, "model"));
  try {
    check_rotatable({"model.layers.0.mlp.up_proj"}, "model");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
    EXPECT_THAT(e.what(), HasSubstr("model: model.layers.0.mlp.up_proj is stored quantized or without its zeros"));
  }
}

}  // namespace
}  // namespace swage::pipeline
