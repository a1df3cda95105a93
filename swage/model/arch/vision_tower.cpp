#include "swage/model/arch/vision_tower.h"

#include <algorithm>

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

// Sizes of a plain tower: blocks of attention with biases and two layer norms, an MLP of two linears.
struct Tower {
  int64_t hidden, inner, depth, pixels, patches;  // numbers in a patch's pixels, patches in an image

  int64_t blocks() const {
    return depth * (4 * hidden * (hidden + 1) + 2 * hidden * inner + inner + hidden + 4 * hidden);
  }
};

Tower tower_of(const ConfigFields& config, int64_t frames = 1) {
  const char* depth = config.json().find("depth") != nullptr ? "depth" : "num_hidden_layers";
  const char* channels = config.json().find("num_channels") != nullptr ? "num_channels"
                         : config.json().find("in_chans") != nullptr   ? "in_chans"
                                                                       : "in_channels";
  const int64_t patch = config.size("patch_size", 1024), side = config.size_or("image_size", patch, 16384) / patch;
  return {config.size("hidden_size"), config.size("intermediate_size"), config.size(depth, kMostLayers),
          config.size_or(channels, 3, 1024) * frames * patch * patch, side * side};
}

int64_t linear(int64_t in, int64_t out, bool bias = true) { return (in + (bias ? 1 : 0)) * out; }

// SigLIP, and what Gemma 3 makes of its patches.
int64_t siglip(const ConfigFields& vision, int64_t text) {
  const Tower t = tower_of(vision);
  const int64_t head = vision.flag_or("vision_use_head", true)
                           ? t.hidden + linear(t.hidden, 4 * t.hidden) + 2 * t.hidden + linear(t.hidden, t.inner) +
                                 linear(t.inner, t.hidden)
                           : 0;
  return linear(t.pixels, t.hidden) + t.patches * t.hidden + t.blocks() + 2 * t.hidden + head +
         linear(t.hidden, text, false) + t.hidden;
}

// CLIP, and LLaVA's two linears.
int64_t clip(const ConfigFields& vision, int64_t text) {
  const Tower t = tower_of(vision);
  return linear(t.pixels, t.hidden, false) + (t.patches + 2) * t.hidden + t.blocks() + 4 * t.hidden +
         linear(t.hidden, text) + linear(text, text);
}

// Pixtral: RMS norms, a gated MLP, no biases; joined by LLaVA's linears, or by those of Mistral 3.
int64_t pixtral(const ConfigFields& config, const ConfigFields& vision, int64_t text) {
  const Tower t = tower_of(vision);
  const bool merges = config.text_or("model_type", "") == "mistral3";
  const int64_t merge = merges ? config.size_or("spatial_merge_size", 2, 1024) : 0;
  const bool bias = config.flag_or("multimodal_projector_bias", !merges);
  const int64_t merger = t.hidden + linear(merge * merge * t.hidden, t.hidden, false);
  return linear(t.pixels, t.hidden, false) + t.hidden +
         t.depth * (4 * t.hidden * t.hidden + 3 * t.hidden * t.inner + 2 * t.hidden) + (merges ? merger : 0) +
         linear(t.hidden, text, bias) + linear(text, text, bias);
}

int64_t qwen2(const ConfigFields& vision) {
  Json fields = vision.json();
  const int64_t wide = vision.size("embed_dim");
  fields.set("hidden_size", wide);
  fields.set("intermediate_size", int64_t(vision.positive_or("mlp_ratio", 4) * double(wide)));
  const Tower t = tower_of(ConfigFields(fields), vision.size_or("temporal_patch_size", 2, 1024));
  const int64_t merge = vision.size_or("spatial_merge_size", 2, 1024), merged = merge * merge * wide;
  return linear(t.pixels, wide, false) + t.blocks() + 2 * wide + linear(merged, merged) +
         linear(merged, vision.size("hidden_size"));
}

// Qwen 3 and 3.5: some layers' patches are merged too.
int64_t qwen3(const ConfigFields& vision) {
  const Tower t = tower_of(vision, vision.size_or("temporal_patch_size", 2, 1024));
  const int64_t merge = vision.size_or("spatial_merge_size", 2, 1024), merged = merge * merge * t.hidden;
  const int64_t merger = linear(merged, merged) + linear(merged, vision.size("out_hidden_size"));
  const Json* deep = vision.json().find("deepstack_visual_indexes");
  const int64_t more = deep != nullptr && deep->is_array() ? int64_t(deep->as_array().size()) : 0;
  return linear(t.pixels, t.hidden) + vision.size("num_position_embeddings") * t.hidden + t.blocks() + 2 * t.hidden +
         merger + more * (2 * merged + merger);
}

int64_t llama4(const ConfigFields& vision, int64_t text) {
  const Tower t = tower_of(vision);
  const int64_t inner = vision.size("projector_input_dim"), out = vision.size("projector_output_dim");
  return linear(t.pixels, t.hidden, false) + (t.patches + 2) * t.hidden + t.blocks() + 4 * t.hidden +
         linear(t.inner, inner, false) + linear(inner, out, false) +
         linear(vision.size("vision_output_dim"), text, false);
}

// Llama 3.2: a second tower on the first, embeddings of tiles; attention has no biases.
int64_t mllama(const ConfigFields& vision, int64_t text) {
  Tower t = tower_of(vision);
  const int64_t global = vision.size("num_global_layers", kMostLayers), tiles = vision.size_or("max_num_tiles", 4, 64);
  const Json* ratios = vision.json().find("supported_aspect_ratios");
  const int64_t kinds =
      1 + (ratios != nullptr && ratios->is_array() ? std::min<int64_t>(64, int64_t(ratios->as_array().size())) : 8);
  t.depth += global;
  const int64_t positions = (t.patches + 1) * t.hidden;
  return linear(t.pixels, t.hidden, false) + t.hidden + 3 + positions * (1 + kinds * tiles) +
         2 * kinds * tiles * t.hidden + 4 * t.hidden + t.blocks() - t.depth * 4 * t.hidden + 2 * global +
         linear(vision.size("vision_output_dim"), text);
}

int64_t text_width(const ConfigFields& config) {
  const Json* text = config.json().find("text_config");
  return (text != nullptr && text->is_object() ? ConfigFields(*text) : config).size_or("hidden_size", 4096);
}

}  // namespace

int64_t vision_parameters(const ConfigFields& config) {
  const Json* found = config.json().find("vision_config");
  SWAGE_CHECK(found != nullptr && found->is_object(), CorruptData, "config.json: vision_config is missing");
  const std::string type = config.text_or("model_type", "");
  const ConfigFields vision(*found);
  if (found->find("patch_size") == nullptr) return 0;  // its class's defaults, which are not known here
  if (type == "qwen2_5_vl") return qwen2_5(*found);
  if (type == "qwen2_vl") return qwen2(vision);
  if (type.starts_with("qwen3")) return qwen3(vision);
  const int64_t text = text_width(config);
  if (type == "gemma3") return siglip(vision, text);
  if (type == "llama4") return llama4(vision, text);
  if (type == "mllama") return mllama(vision, text);
  if (vision.text_or("model_type", "") == "pixtral") return pixtral(config, vision, text);
  return type == "llava" ? clip(vision, text) : 0;
}

}  // namespace swage::model
