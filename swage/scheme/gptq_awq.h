// What the configuration of a GPTQ or AWQ checkpoint says: "quantization_config" in config.json, and again (or, in old
// checkpoints, only) in quantize_config.json (GPTQ) or quant_config.json (AWQ). Keys as GPTQModel 7.3 and AutoAWQ 0.2.9
// write them.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/scheme/matching.h"
#include "swage/scheme/quantization.h"

namespace swage::scheme {

// How the modules are quantized that no "dynamic" entry speaks of, or one that it does.
struct GptqSettings {
  int bits = 4;
  int64_t group_size = 128;  // -1: one scale an output
  bool desc_act = false;     // groups of sorted columns, told by g_idx
  bool sym = true;
  bool operator==(const GptqSettings&) const = default;
  auto operator<=>(const GptqSettings&) const = default;
};

// An entry of "dynamic": an expression matched from the start of a module's name, and what holds there.
struct GptqOverride {
  std::string pattern;  // without "+:" or "-:"
  bool skip = false;    // "-:": left unquantized
  GptqSettings settings;
};

struct GptqCheckpoint {
  GptqSettings settings;
  std::string format = "gptq";        // "gptq_v2", "gptq_p"
  bool lm_head = false;               // the head is quantized too
  std::vector<GptqOverride> dynamic;  // the first that matches counts
};

struct AwqCheckpoint {
  int64_t group_size = 128;                         // -1: one scale an output
  std::vector<std::string> modules_to_not_convert;  // substrings of module names
};

// As GPTQModel and AutoAWQ write them. An override names all four settings.
Json to_json(const GptqCheckpoint& checkpoint, const std::string& quantizer);
Json to_json(const AwqCheckpoint& checkpoint);

// Whether the config's quant_method is one of these two.
bool is_gptq_or_awq(const Json& quantization_config);
// The settings file of a checkpoint older than "quantization_config", quant_method filled in; nullopt if the folder has
// none.
std::optional<Json> old_settings_file(const std::filesystem::path& folder);

// The schemes of the modules that store a "qweight".
class GptqAwqSchemes {
 public:
  // Error(CorruptData) naming the key for values that make no sense, Error(Unsupported) for layouts swage does not read
  // (marlin, gemv, ...). Unknown keys are ignored.
  explicit GptqAwqSchemes(const Json& quantization_config);

  // "gptq", "gptq_v2", "gptq_p" or "awq": the scheme's format.
  const std::string& format() const { return format_; }
  // Integer weights in groups, or with one scale an output; actorder "group" for desc_act. AWQ is always asymmetric.
  // Error(CorruptData) if "dynamic" leaves the module unquantized.
  Scheme find(const std::string& module) const;

 private:
  struct Rule {
    Patterns pattern;
    bool skip;
    GptqSettings settings;
  };
  std::string format_;
  GptqSettings settings_;
  std::vector<Rule> rules_;
};

// [outputs, inputs] of the weight behind a qweight of this shape; Error(CorruptData) unless it is a matrix of whole
// codes.
std::vector<int64_t> dense_shape(const Scheme& scheme, const std::vector<int64_t>& qweight_shape);

}  // namespace swage::scheme
