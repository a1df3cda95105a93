#include "swage/convert/convert_config.h"

#include <algorithm>
#include <map>

#include "swage/base/error.h"
#include "swage/base/json_respell.h"
#include "swage/base/version.h"
#include "swage/scheme/gptq_awq.h"

namespace swage::pipeline {
namespace {

using scheme::QuantizationArgs;

Json without_quantization(const Json& config) {
  Json out = config;
  for (const char* key : {"quantization_config", "compression_config"}) out.erase(key);
  if (const Json* text = out.find("text_config"); text != nullptr && text->is_object())
    out.set("text_config", without_quantization(*text));
  return out;
}

// Inside a block: the name holds a number.
bool in_block(const std::string& module) {
  for (size_t at = module.find('.'); at != std::string::npos; at = module.find('.', at + 1)) {
    const size_t end = module.find_first_not_of("0123456789", at + 1);
    if (end != std::string::npos && end > at + 1 && module[end] == '.') return true;
  }
  return false;
}

std::vector<std::string> left_in_blocks(const ConversionPlan& plan) {
  std::vector<std::string> names;
  std::copy_if(plan.unquantized.begin(), plan.unquantized.end(), std::back_inserter(names), in_block);
  return names;
}

// --- gptq
// -------------------------------------------------------------------------------------------------------------

// An expression that matches this name only.
std::string exactly(const std::string& name) {
  std::string out = "^";
  for (const char c : name) {
    if (c == '.') out += '\\';
    out += c;
  }
  return out + "$";
}

scheme::GptqSettings settings_of(const QuantizationArgs& args) {
  return {.bits = args.num_bits,
          .group_size = args.group_size.value_or(-1),
          .desc_act = scheme::orders_groups(args),
          .sym = args.symmetric};
}

// The most frequent settings are the checkpoint's, the others exceptions by name.
Json gptq_config(const std::string& format, const ConversionPlan& plan) {
  std::map<scheme::GptqSettings, int64_t> count;
  for (const ConvertedModule& module : plan.modules) ++count[settings_of(module.args)];
  const auto most =
      std::max_element(count.begin(), count.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  scheme::GptqCheckpoint checkpoint;
  checkpoint.settings = most->first;
  checkpoint.format = format;
  for (const ConvertedModule& module : plan.modules) {
    checkpoint.lm_head = checkpoint.lm_head || module.name.ends_with("lm_head");
    const scheme::GptqSettings settings = settings_of(module.args);
    if (settings != most->first) checkpoint.dynamic.push_back({exactly(module.name), false, settings});
  }
  for (const std::string& name : left_in_blocks(plan)) checkpoint.dynamic.push_back({exactly(name), true, {}});
  return scheme::to_json(checkpoint, cat("swage:", kVersion));
}

// --- awq
// --------------------------------------------------------------------------------------------------------------

Json awq_config(const ConversionPlan& plan) {
  scheme::AwqCheckpoint checkpoint;
  const ConvertedModule& first = plan.modules.front();
  checkpoint.group_size = first.args.group_size.value_or(-1);
  for (const ConvertedModule& module : plan.modules) {
    const int64_t size = module.args.group_size.value_or(-1);
    SWAGE_CHECK(size == checkpoint.group_size, InvalidArgument, "awq has one group size, but ", first.name, " has ",
                checkpoint.group_size, " and ", module.name, " has ", size,
                " (-1: one scale an output); --to pack-quantized or gptq_v2 can hold both");
  }
  checkpoint.modules_to_not_convert = left_in_blocks(plan);
  for (const std::string& name : checkpoint.modules_to_not_convert) {  // they match as substrings
    for (const ConvertedModule& module : plan.modules) {
      SWAGE_CHECK(module.name.find(name) == std::string::npos, InvalidArgument, "awq cannot leave ", name,
                  " unquantized without ", module.name, ", whose name contains it; --to pack-quantized or gptq_v2 can");
    }
  }
  return scheme::to_json(checkpoint);
}

// --- pack-quantized
// ---------------------------------------------------------------------------------------------------

// The source's own groups, stored in another format.
scheme::QuantizationConfig restored(scheme::QuantizationConfig config) {
  for (auto& [name, scheme] : config.groups) {
    if (scheme.weights) scheme.format = "pack-quantized";
  }
  config.format.clear();
  config.quantization_status = "compressed";
  config.version = scheme::QuantizationConfig().version;
  return config;
}

// A group for each kind of module: the most frequent kind is every Linear's, the others are named.
scheme::QuantizationConfig grouped(const ConversionPlan& plan) {
  std::vector<std::pair<QuantizationArgs, std::vector<std::string>>> kinds;
  for (const ConvertedModule& module : plan.modules) {
    auto found = std::find_if(kinds.begin(), kinds.end(), [&](const auto& kind) { return kind.first == module.args; });
    if (found == kinds.end()) found = kinds.insert(kinds.end(), {module.args, {}});
    found->second.push_back(module.name);
  }
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const auto& a, const auto& b) { return a.second.size() > b.second.size(); });
  scheme::QuantizationConfig config;
  for (size_t i = 0; i < kinds.size(); ++i) {
    scheme::Scheme scheme;
    scheme.weights = kinds[i].first;
    scheme.format = "pack-quantized";
    if (i > 0) scheme.targets = kinds[i].second;
    config.groups.emplace_back(cat("group_", i), scheme);
  }
  config.ignore = plan.unquantized;
  const auto is_head = [](const auto& module) { return module.name.ends_with("lm_head"); };
  const bool named = std::find(config.ignore.begin(), config.ignore.end(), "lm_head") != config.ignore.end();
  // A tied head is stored nowhere, but loaders make a Linear of it.
  if (!named && std::none_of(plan.modules.begin(), plan.modules.end(), is_head)) config.ignore.push_back("lm_head");
  return config;
}

// --- other files
// ------------------------------------------------------------------------------------------------------

// The type that loaders give a dense model, if it was asked for.
void set_dtype(Json& config, const std::string& dtype) {
  const std::string name = dtype == "bf16" ? "bfloat16" : dtype == "f16" ? "float16" : "float32";
  config.set(config.find("torch_dtype") != nullptr && config.find("dtype") == nullptr ? "torch_dtype" : "dtype", name);
}

}  // namespace

void write_converted_files(const ConvertJob& job, const Source& source, const format::CheckpointWeights& weights,
                           const ConversionPlan& plan, checkpoint::Writer& writer) {
  Json config = without_quantization(source.reader().config());
  if (job.to == "dense") {
    if (!job.dtype.empty()) set_dtype(config, job.dtype);
  } else if (job.to == "awq") {
    config.set("quantization_config", awq_config(plan));
  } else if (job.to == "pack-quantized") {
    const auto& found = weights.quantization_config();
    config.set("quantization_config", scheme::to_json(found ? restored(*found) : grouped(plan)));
  } else {
    const Json quantization = gptq_config(job.to, plan);
    config.set("quantization_config", quantization);
    writer.add_file("quantize_config.json", quantization.dump(2) + "\n");
  }
  writer.add_file("config.json", respelled_file(source.reader().folder() / "config.json", config));
  source.copy_side_files(writer);
}

}  // namespace swage::pipeline
