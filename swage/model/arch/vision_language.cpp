// Vision-language models by their text models: config.json has the text model's fields under text_config, the file has
// its tensors under a prefix. What looks at images is copied as it is. Without an image a token's three positions
// (Qwen-VL) are one, and layers that attend to images (Mllama) do nothing.
#include <algorithm>
#include <array>

#include "swage/base/error.h"
#include "swage/model/arch/arch_table.h"
#include "swage/model/arch/vision_tower.h"
#include "swage/model/config_defaults.h"

namespace swage::model {

using namespace graph;

namespace {

// Where a text model's tensors are: what stands for "model." and for "lm_head".
struct Place {
  const char* body;
  const char* head;
};
constexpr std::array<Place, 3> kPlaces = {
    {{"model.language_model.", "lm_head"}, {"language_model.model.", "language_model.lm_head"}, {"model.", "lm_head"}}};

std::string placed(const Place& place, const std::string& name) {
  constexpr std::string_view kBody = "model.", kHead = "lm_head";
  if (name.starts_with(kBody)) return place.body + name.substr(kBody.size());
  return name.starts_with(kHead) ? place.head + name.substr(kHead.size()) : name;
}

// The file's tensors by the names that the text model alone would have.
class TextWeights : public checkpoint::WeightSource {
 public:
  TextWeights(const checkpoint::WeightSource& source, const Place& place) : source_(source), place_(place) {}
  std::vector<int64_t> shape(const std::string& name) const override { return source_.shape(placed(place_, name)); }
  at::Tensor load(const std::string& name) const override { return source_.load(placed(place_, name)); }
  std::shared_ptr<const ops::PackedLinear> packed(const std::string& name) const override {
    return source_.packed(placed(place_, name));
  }
  at::Tensor load_table(const std::string& name) const override { return source_.load_table(placed(place_, name)); }
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string& module) const override {
    return source_.input_quantization(placed(place_, module));
  }
  void prefetch(const std::vector<std::string>&) const override {}

 private:
  const checkpoint::WeightSource& source_;
  const Place& place_;
};

// What the config class of a text model takes for fields that published configs leave out.
void fill_in(Json& fields, const std::string& type) {
  const Json* row = config_defaults(type + "_text");
  if (row == nullptr) row = config_defaults(type);
  if (row == nullptr) return;
  const Json given = fields;
  for (const auto& [key, value] : row->at("defaults").as_object()) {
    if (usual_value(*row, given, key) != nullptr) fields.set(key, value);
  }
}

// The text model's fields with its model_type as the table of architectures has it.
Json text_fields(const ConfigFields& config, const char* default_type) {
  const Json* text = config.json().find("text_config");
  SWAGE_CHECK(text == nullptr || text->is_null() || text->is_object(), CorruptData,
              "config.json: text_config is not an object");
  const bool flat = config.json().find("hidden_size") != nullptr;  // Qwen2-VL's first files
  const bool nested = text != nullptr && text->is_object();
  SWAGE_CHECK(nested || flat, CorruptData, "config.json: text_config is missing");
  Json fields = nested ? *text : config.json();
  std::string type = nested ? ConfigFields(fields).text_or("model_type", default_type) : std::string(default_type);
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"qwen2_vl_text", "qwen2"},    {"qwen2_5_vl_text", "qwen2"}, {"qwen2_vl", "qwen2"},
      {"qwen2_5_vl", "qwen2"},       {"qwen3_vl_text", "qwen3"},   {"qwen3_vl_moe_text", "qwen3_moe"},
      {"mllama_text_model", "llama"}};
  fill_in(fields, type);
  for (const auto& [theirs, ours] : kNames) {
    if (type == theirs) type = ours;
  }
  if (type == "qwen3_moe") fields.set("norm_topk_prob", true);  // their configs do not say it
  fields.set("model_type", type);
  if (const Json* tied = config.find("tie_word_embeddings")) fields.set("tie_word_embeddings", *tied);
  return fields;
}

ModelProgram describe(const ConfigFields& config, const checkpoint::WeightSource& weights, const char* default_type) {
  const Json fields = text_fields(config, default_type);
  const Place* place = &kPlaces[0];
  for (const Place& one : kPlaces) {
    if (!weights.shape(one.body + std::string("embed_tokens.weight")).empty()) place = &one;
  }
  const std::string type = fields.get_string("model_type", "");
  const auto& table = architectures();
  const auto found = std::find_if(table.begin(), table.end(), [&](const auto& row) { return row.model_type == type; });
  SWAGE_CHECK(found != table.end(), Unsupported, "config.json: text_config: model_type \"", type,
              "\" is not supported");
  ModelProgram model = found->describe(ConfigFields(fields), TextWeights(weights, *place));
  rename(model, [place](const std::string& name) { return placed(*place, name); });
  model.side_modules = {"vision_tower.",
                        "multi_modal_projector.",
                        "visual.",
                        "vision_model.",
                        "model.visual.",
                        "model.vision_tower.",
                        "model.multi_modal_projector.",
                        "model.vision_model."};
  model.side_parameters += vision_parameters(config);
  return model;
}

}  // namespace

ModelProgram describe_gemma3(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  return describe(config, weights, "gemma3_text");
}

// Images and sounds, of towers that nothing here counts the numbers of.
ModelProgram describe_gemma3n(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  ModelProgram model = describe(config, weights, "gemma3n_text");
  for (const char* side : {"model.audio_tower.", "model.embed_vision.", "model.embed_audio."})
    model.side_modules.emplace_back(side);
  return model;
}

ModelProgram describe_llava(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  return describe(config, weights, "llama");
}

ModelProgram describe_mistral3(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  return describe(config, weights, "mistral");
}

ModelProgram describe_qwen2_vl(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  return describe(config, weights, "qwen2");
}

ModelProgram describe_qwen3_vl(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  return describe(config, weights, "qwen3");
}

ModelProgram describe_qwen3_5(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  return describe(config, weights, "qwen3_5_text");
}

ModelProgram describe_qwen3_5_moe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  return describe(config, weights, "qwen3_5_moe_text");
}

ModelProgram describe_qwen3_vl_moe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  return describe(config, weights, "qwen3_moe");
}

ModelProgram describe_llama4(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  return describe(config, weights, "llama4_text");
}

// Layers of cross attention are left out: they are copied.
ModelProgram describe_mllama(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  ModelProgram model = describe(config, weights, "llama");
  const Json fields = text_fields(config, "llama");
  const Json* list = fields.find("cross_attention_layers");
  SWAGE_CHECK(list != nullptr && list->is_array(), CorruptData,
              "config.json: cross_attention_layers must be a list of layers");
  model.embedding.rows += 8;  // for the image's token and seven that only fill up
  std::vector<bool> crosses(model.blocks.size());
  for (const Json& item : list->as_array()) {
    SWAGE_CHECK(item.is_int() && item.as_int() >= 0 && item.as_int() < int64_t(model.blocks.size()), CorruptData,
                "config.json: cross_attention_layers holds ", item.dump(), ", not one of ", model.blocks.size(),
                " layers");
    crosses[size_t(item.as_int())] = true;
  }
  std::vector<BlockProgram> left;
  for (size_t layer = 0; layer < crosses.size(); ++layer) {
    const std::string& of_norm = std::get<NormNode>(model.blocks[layer].nodes[0]).norm.name;
    if (!crosses[layer])
      left.push_back(std::move(model.blocks[layer]));
    else
      model.side_modules.push_back(of_norm.substr(0, of_norm.rfind('.') + 1));
  }
  ModelProgram crossing;  // as many numbers as a layer, norms of queries and keys, two gates
  crossing.blocks = {left.empty() ? BlockProgram() : left[0]};
  const int64_t head = crossing.blocks[0].attention() == nullptr ? 0 : crossing.blocks[0].attention()->head_size;
  model.side_parameters +=
      int64_t(crosses.size() - left.size()) * (shape_of(crossing).blocks[0].parameters() + 2 * head + 2);
  model.blocks = std::move(left);
  return model;
}

}  // namespace swage::model
