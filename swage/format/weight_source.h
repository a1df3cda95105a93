// A checkpoint folder as float32 weights: quantized modules are dequantized, everything else is widened.
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/format/format.h"
#include "swage/format/stored_transforms.h"
#include "swage/scheme/config_json.h"
#include "swage/scheme/matching.h"

namespace swage::format {

// Which weights packed() gives as they are stored.
enum class KeptForm {
  Floats,  // none: everything is loaded as f32
  Codes,   // quantized linears
  All      // also matrices of floats, views of the file: for models that stay in memory
};

struct CheckpointWeightsOptions {
  bool check_finite = true;  // load() throws Error(Numerical) naming a tensor that holds NaN or infinity
  bool weights_only =
      false;  // no quantization of inputs, keys and values is asked for: the values of the weights alone
  KeptForm kept = KeptForm::Floats;
  // Values of quantized weights are rounded to this type, as by readers that dequantize (transformers,
  // compressed-tensors): a model made of them is that of the dequantized checkpoint, bit for bit.
  std::optional<at::ScalarType> dense_dtype = {};
};

// A module's codes and how to read them.
struct QuantizedModule {
  QuantizedWeight weight;
  scheme::QuantizationArgs args;
  std::string format;  // "pack-quantized"
};

// Thread-safe after construction. Errors about a stored tensor name its module and suffix.
class CheckpointWeights : public checkpoint::WeightSource {
 public:
  // Reads the quantization_config, if config.json has one, and finds scheme and format of every quantized module: one
  // that stores "weight_packed", "weight_scale", "weight_scale_inv" or, with quant_method gptq or awq, "qweight".
  // `reader` must outlive this. Error(Unsupported) for quantization methods, formats and schemes that swage does not
  // read; Error(CorruptData) for quantized modules that no group targets.
  explicit CheckpointWeights(const checkpoint::Reader& reader, at::Device device = at::kCPU,
                             const CheckpointWeightsOptions& options = {});

  std::vector<int64_t> shape(const std::string& name) const override;
  // Besides the contract: Error(CorruptData) when a stored tensor of a quantized module is missing or of the wrong type
  // or shape, or an unquantized one is not of floats. Pages of the file that were read are given back.
  at::Tensor load(const std::string& name) const override;
  std::shared_ptr<const ops::PackedLinear> packed(const std::string& name) const override;
  at::Tensor load_table(const std::string& name) const override;
  // Also for attention modules whose queries are quantized: those that store a "q_scale". Scales that the args call for
  // are tensors that load() gives: MODULE.input_scale, .input_zero_point, .input_global_scale, .q_scale, .k_scale,
  // .v_scale.
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string& module) const override;
  std::optional<scheme::QuantizationArgs> kv_cache_quantization() const override;
  std::shared_ptr<const ops::Transform> transform(const scheme::ModuleName& module, scheme::TransformLocation location,
                                                  int64_t columns) const override;
  void prefetch(const std::vector<std::string>& names) const override;

  // None for a dense checkpoint, and for the methods gptq and awq.
  const std::optional<scheme::QuantizationConfig>& quantization_config() const { return config_; }
  // Whether the reader has to multiply activations: what it computes with the weights alone is not the model then.
  bool has_transforms() const { return transforms_ != nullptr; }
  std::vector<std::string> quantized_modules() const;  // sorted
  // Modules whose weight is not stored as plain numbers: quantized ones and those stored without their zeros. Sorted.
  std::vector<std::string> encoded_modules() const;
  // Whether a dense checkpoint would not hold this tensor, or hold another one under its name: a part of an encoded
  // weight, a scale of activations, keys, values or queries.
  bool describes_quantization(const std::string& tensor) const;
  // The scheme of a quantized module, nullptr for any other.
  const scheme::Scheme* quantized_scheme(const std::string& module) const;
  // Codes, scales and zero points of a quantized module, on the CPU, copied out of the file. Error(InvalidArgument) if
  // it is not one.
  QuantizedModule quantized(const std::string& module) const;

 private:
  struct Stored {
    const Format* format;
    scheme::Scheme scheme;
  };

  void find_quantized_modules(const scheme::SchemeMatcher& matcher);
  // Modules that store a "qweight": checkpoints of quant_method gptq and awq.
  void find_gptq_or_awq_modules(const Json& quantization_config);
  void find_attention_modules(const scheme::SchemeMatcher& matcher);
  std::string stored_format(const std::string& module, const scheme::Scheme& scheme) const;
  scheme::Scheme with_stored_strategy(const std::string& module, scheme::Scheme scheme) const;
  Stored stored_form(const std::string& module, const scheme::SchemeMatcher& matcher) const;
  // The module whose weight is `name`, if it is quantized.
  const std::pair<const std::string, Stored>* quantized_weight(const std::string& name) const;
  TensorLookup lookup(const std::string& module) const;
  QuantizedWeight unpack(const std::string& module, const Stored& stored) const;
  // The tensor, under this name or one it had before.
  const io::TensorSpec* find(const std::string& name) const;
  // The module, if `name` is its weight and it is stored without its zeros.
  std::optional<std::string> sparse_weight(const std::string& name) const;
  at::Tensor load_dense(const std::string& name) const;
  void note_parts(const std::string& module) const;
  void drop_parts(const std::string& module) const;
  // The matrix in the type of floats that it is stored in, a view of the file; undefined if it is not stored so.
  at::Tensor stored_matrix(const std::string& name) const;
  at::Tensor load_sparse(const std::string& name, const std::string& module) const;
  at::Tensor checked(const std::string& name, const at::Tensor& values) const;
  at::Tensor rounded(const std::string& name, const at::Tensor& values) const;

  const checkpoint::Reader& reader_;
  at::Device device_;
  CheckpointWeightsOptions options_;
  std::optional<scheme::QuantizationConfig> config_;
  std::unique_ptr<const StoredTransforms> transforms_;  // of a checkpoint that asks for some
  std::map<std::string, Stored> modules_;               // the quantized ones
  std::map<std::string, scheme::QuantizationArgs>
      inputs_only_;  // modules with activations quantized and a dense weight
};

}  // namespace swage::format
