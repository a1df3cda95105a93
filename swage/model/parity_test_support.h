// For tests only: golden checkpoints as WeightSource. Reads safetensors without any checks.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/model/model.h"

namespace swage::model {

using TensorMap = std::map<std::string, at::Tensor>;

std::string read_text(const std::filesystem::path& path);
TensorMap read_safetensors(const std::filesystem::path& path);

// Tensors in memory; everything is given out as float32.
class MapSource : public checkpoint::WeightSource {
 public:
  explicit MapSource(TensorMap tensors) : tensors(std::move(tensors)) {}
  std::vector<int64_t> shape(const std::string& name) const override;
  at::Tensor load(const std::string& name) const override;
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string& module) const override;
  std::optional<scheme::QuantizationArgs> kv_cache_quantization() const override { return cache; }
  void prefetch(const std::vector<std::string>&) const override {}

  TensorMap tensors;
  std::map<std::string, scheme::QuantizationArgs> inputs;  // by module
  std::optional<scheme::QuantizationArgs> cache;
};

// Folders of the golden vectors that this model code must reproduce and that are there: the full set if it lies beside
// the checkout, else the selection in tests/data/model.
std::vector<std::filesystem::path> parity_folders();
std::filesystem::path parity_folder(const std::string& name);
// Inputs and outputs of such a folder: of vision-language models without an image, where tests/data/model/text_io has
// them, written by transformers from the same weights.
std::filesystem::path golden_io(const std::filesystem::path& folder);

// A golden model, whole.
struct GoldenModel {
  Json config;
  std::unique_ptr<MapSource> weights;
  std::unique_ptr<Model> model;
  std::vector<std::unique_ptr<Block>> blocks;
};
// `config`: "config.json" or "config.hub.json", which comes with the hub's names of tensors where those are others.
GoldenModel load_golden(const std::filesystem::path& folder, const std::string& config);

// max |a - b| / max |b|
double relative_error(const at::Tensor& a, const at::Tensor& b);

}  // namespace swage::model
