// Where a model's weights come from: dense and quantized checkpoints look alike through it.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "swage/ops/packed_linear.h"
#include "swage/ops/transform.h"
#include "swage/scheme/quantization.h"
#include "swage/scheme/transform.h"

namespace swage::checkpoint {

// All tensors come out as float32 on the run's device.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // Shape of `name` ("model.norm.weight"), empty if it is not in the checkpoint. A quantized linear's "weight" has the
  // shape of its dense form.
  virtual std::vector<int64_t> shape(const std::string& name) const = 0;
  // Float32 values, dequantized if need be; Error(CorruptData) naming it if absent.
  virtual at::Tensor load(const std::string& name) const = 0;
  // The weight `name` of a linear as products read it where it is stored in few bits; null: load() it.
  virtual std::shared_ptr<const ops::PackedLinear> packed(const std::string& /*name*/) const { return nullptr; }
  // load() of a table whose rows are looked up, which may stay in the type of floats that it is stored in.
  virtual at::Tensor load_table(const std::string& name) const { return load(name); }
  // Quantization of what a linear reads, or of an attention module's queries, if the checkpoint asks for it.
  virtual std::optional<scheme::QuantizationArgs> input_quantization(const std::string& module) const = 0;
  // Quantization of keys and values, if the checkpoint asks for it (kv_cache_scheme).
  virtual std::optional<scheme::QuantizationArgs> kv_cache_quantization() const { return {}; }
  // What the `columns` columns at an online location of a module are multiplied with, if the checkpoint asks for it
  // (transform_config); else null.
  virtual std::shared_ptr<const ops::Transform> transform(const scheme::ModuleName& /*module*/,
                                                          scheme::TransformLocation /*location*/,
                                                          int64_t /*columns*/) const {
    return nullptr;
  }
  // Starts reading what load() will be asked for.
  virtual void prefetch(const std::vector<std::string>& names) const = 0;
};

}  // namespace swage::checkpoint
