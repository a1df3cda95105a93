#include "swage/model/arch/vision_tower.h"

#include "swage/base/error.h"

namespace swage::model {
namespace {

// Patches, blocks of attention and a gated MLP with biases, and what joins neighbouring patches for the text model.
int64_t qwen2_5(const Json& vision) {
  const ConfigFields config(vision);
  const int64_t hidden = config.size("hidden_size"), inner = config.size("intermediate_size"),
                depth = config.size("depth", kMostLayers);
  const int64_t patch = config.size("patch_size", 1024), frames = config.size_or("temporal_patch_size", 2, 1024);
  const int64_t channels = config.size_or("in_chans", config.size_or("in_channels", 3, 1024), 1024);
  const int64_t merged =
      config.size_or("spatial_merge_size", 2, 1024) * config.size_or("spatial_merge_size", 2, 1024) * hidden;
  SWAGE_CHECK(merged <= kLargestSize, CorruptData,
              "config.json: vision_config: spatial_merge_size squared times hidden_size is ", merged, ", too large");
  const int64_t attention = 4 * hidden * hidden + 4 * hidden, mlp = 3 * hidden * inner + 2 * inner + hidden,
                norms = 2 * hidden;
  const int64_t merger = hidden + merged * merged + merged + (merged + 1) * config.size("out_hidden_size");
  return hidden * channels * frames * patch * patch + depth * (attention + mlp + norms) + merger;
}

}  // namespace

int64_t vision_parameters(const ConfigFields& config) {
  const Json* vision = config.json().find("vision_config");
  SWAGE_CHECK(vision != nullptr && vision->is_object(), CorruptData, "config.json: vision_config is missing");
  return config.text_or("model_type", "") == "qwen2_5_vl" ? qwen2_5(*vision) : 0;
}

}  // namespace swage::model
