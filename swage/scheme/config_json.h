// quantization_config: what a checkpoint's config.json says of its quantization, as compressed-tensors 0.20 writes it
// and as it and its predecessors read it.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/base/json.h"
#include "swage/scheme/quantization.h"
#include "swage/scheme/transform.h"

namespace swage::scheme {

struct QuantizationConfig {
  std::vector<std::pair<std::string, Scheme>> groups;  // "group_0" and so on, in the file's order
  std::vector<std::string> ignore;                     // module names, classes, "re:" expressions
  std::string format;                                  // empty: one format of the groups, or "mixed-precision"
  std::string quantization_status = "compressed";
  std::string version = "0.20.0";
  std::optional<QuantizationArgs> kv_cache_scheme;
  TransformGroups transforms;
  bool operator==(const QuantizationConfig&) const = default;
};

// "group_0" with this scheme, nothing else set.
QuantizationConfig config_of(const Scheme& scheme, std::vector<std::string> ignore);

// Sorted keys, slim as 0.20 writes it: unset optional arguments are left out, a group without a format gets its own.
Json to_json(const QuantizationArgs& args);
Json to_json(const Scheme& scheme);
Json to_json(const QuantizationConfig& config);

// The config's "quantization_config", else its "compression_config", else either inside "text_config"; nullptr if the
// checkpoint has none.
const Json* find_quantization_config(const Json& model_config);

// Reads it. Accepts the long form of older versions (every key, with nulls), groups without a format, groups that are a
// preset's name with a list of targets, "128x128" blocks, group_size -1, dtypes with and without "torch.".
// Error(CorruptData) naming the key: unknown keys in groups and arguments (elsewhere they are ignored), wrong types,
// values that exclude each other. Error(Unsupported) naming it: another quant_method than compressed-tensors, an
// unknown type of transform, an unknown sparse format. What sparsity_config says is otherwise dropped: the stored
// tensors tell which weights are sparse.
QuantizationConfig parse_quantization_config(const Json& json);

}  // namespace swage::scheme
