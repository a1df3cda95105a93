#include "swage/views/rotated_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include <functional>

#include "swage/base/error.h"
#include "swage/resolve/quantized_source.h"

namespace swage::pipeline {
namespace {

using model::Basis;

ops::Transform make_rotation(const char* name, const modifiers::RotationRequest& request, int64_t size, uint64_t seed) {
  const int64_t block = request.block_size.value_or(size);
  SWAGE_CHECK(size > 0 && size % block == 0, InvalidArgument, "rotation ", name, ": ", size,
              " columns do not split into blocks of ", block);
  try {
    return solvers::rotation(request.kind, block, seed);
  } catch (Error& e) {
    e.add_context(cat("rotation ", name, " of ", block, " columns; transform_type random-matrix takes any size"));
    throw;
  }
}

// Streams of random numbers that have nothing to do with each other.
uint64_t seed_of(uint64_t seed, uint64_t use) { return seed * 0x9e3779b97f4a7c15u + use * 0xd1342543de82ef95u; }

// The rows of x that the slice names, changed by `turn`.
at::Tensor turned(const at::Tensor& x, const graph::RowSlice& slice,
                  const std::function<at::Tensor(const at::Tensor&)>& turn) {
  if (slice.all()) return turn(x);
  const at::Tensor rows = at::arange(slice.groups)
                              .mul(slice.stride)
                              .unsqueeze(1)
                              .add(at::arange(slice.first, slice.first + slice.size))
                              .view({-1});
  return x.index_copy(0, rows, turn(x.index_select(0, rows)));
}

}  // namespace

RotatedWeights::RotatedWeights(const checkpoint::WeightSource& source, const model::Model& model,
                               const modifiers::RotationRequest& request, uint64_t seed)
    : source_(source),
      online_(model, request, seed),
      tensors_(model.rotated_tensors({request.stream, request.heads, online_.inputs(), online_.outputs()})) {
  for (size_t i = 0; i < tensors_.tensors.size(); ++i) index_of_[tensors_.tensors[i].name] = i;
  seed = request.seed.value_or(seed);
  if (request.stream) stream_.push_back(make_rotation("R1", request, tensors_.stream_size, seed_of(seed, 1)));
  SWAGE_CHECK(!request.heads || tensors_.head_size > 0, Unsupported, "rotation R2: this model has no attention");
  const int64_t several = request.each_layer ? model.blocks() : 1;
  for (int64_t i = 0; request.heads && i < several; ++i)
    heads_.push_back(make_rotation("R2", request, tensors_.head_size, seed_of(seed, 2 + uint64_t(i))));
}

const model::RotatedTensor* RotatedWeights::find(const std::string& name) const {
  const auto found = index_of_.find(name);
  return found == index_of_.end() ? nullptr : &tensors_.tensors[found->second];
}

const ops::Transform& RotatedWeights::rotation_of(Basis basis, const model::RotatedTensor& tensor) const {
  if (basis == Basis::Input) return online_.folded(scheme::TransformLocation::Input, tensor.reads);
  if (basis == Basis::Output) return online_.folded(scheme::TransformLocation::Output, tensor.makes);
  if (basis == Basis::Stream) return stream_.front();
  return heads_.size() == 1 ? heads_.front() : heads_[size_t(tensor.block)];
}

std::vector<int64_t> RotatedWeights::shape(const std::string& name) const {
  const model::RotatedTensor* tensor = find(name);
  return source_.shape(tensor ? tensor->source : name);
}

at::Tensor RotatedWeights::rotate(const std::string& name, const at::Tensor& value) const {
  const model::RotatedTensor* tensor = find(name);
  if (tensor == nullptr) return value;
  if (tensor->ones) return at::full(value.sizes(), 1 - tensor->offset, at::kFloat);
  at::Tensor out = value.to(at::kCPU, at::kFloat);
  if (tensor->norm) {
    const at::Tensor norm_I = source_.load(*tensor->norm).cpu();
    out = out.mul(tensor->offset != 0 ? norm_I.add(tensor->offset) : norm_I);
  }
  const bool of_bias = out.dim() == 1;
  if (tensor->columns != Basis::Other) {
    out = of_bias && !tensor->slice.all()
              ? turned(out, tensor->slice,
                       [&](const at::Tensor& part) { return rotation_of(tensor->columns, *tensor).columns(part); })
              : rotation_of(tensor->columns, *tensor).columns(out);
  }
  if (tensor->rows != Basis::Other)
    out = turned(out, tensor->slice,
                 [&](const at::Tensor& part) { return rotation_of(tensor->rows, *tensor).rows(part); });
  return out;
}

at::Tensor RotatedWeights::load(const std::string& name) const {
  const model::RotatedTensor* tensor = find(name);
  if (tensor == nullptr) return source_.load(name);
  const at::Tensor value = source_.load(tensor->source);
  at::Tensor out = rotate(name, value);
  const auto type = types_.find(name);
  if (type != types_.end()) out = out.to(type->second).to(at::kFloat);
  return out.to(value.device());
}

void RotatedWeights::prefetch(const std::vector<std::string>& names) const {
  std::vector<std::string> sources;
  for (const std::string& name : names) {
    const model::RotatedTensor* tensor = find(name);
    sources.push_back(tensor ? tensor->source : name);
  }
  source_.prefetch(sources);
}

Json config_of_rotated(const Json& config, const RotatedWeights& rotated) {
  Json out = config;
  if (rotated.unties_head()) out.set("tie_word_embeddings", false);
  return out;
}

std::map<std::string, io::TensorSpec> dense_rotated(const checkpoint::Reader& reader, const RotatedWeights& rotated,
                                                    const Assignment& assignment) {
  constexpr std::string_view kWeight = ".weight";
  std::map<std::string, io::TensorSpec> out;
  for (const model::RotatedTensor& tensor : rotated.tensors()) {
    const bool is_weight = tensor.name.ends_with(kWeight);
    if (is_weight && assignment.find(tensor.name.substr(0, tensor.name.size() - kWeight.size())) != nullptr) continue;
    const io::TensorSpec* stored = reader.find(tensor.source);
    out[tensor.name] = {tensor.name, stored ? stored->dtype : dense_dtype(reader), rotated.shape(tensor.name)};
  }
  return out;
}

void check_rotatable(const std::vector<std::string>& encoded_modules, const std::string& source) {
  SWAGE_CHECK(encoded_modules.empty(), Unsupported, source, ": ", encoded_modules.front(),
              " is stored quantized or without its zeros, and rotations are folded into plain weights; swage convert "
              "--to dense it first");
}

}  // namespace swage::pipeline
