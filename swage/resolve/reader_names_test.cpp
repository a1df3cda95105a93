#include "swage/resolve/reader_names.h"

#include <gmock/gmock.h>

namespace swage::pipeline {
namespace {

using testing::ElementsAre;

graph::ModuleInfo module(const std::string& name, graph::Role role = graph::Role::Other) {
  graph::ModuleInfo out{name, "Linear", 8, 8};
  out.role = role;
  return out;
}

// What transformers 5.24 calls the linears of models that it saves under older names.
TEST(ReaderNames, OlderNamesAreFollowedByThoseOfTransformers) {
  EXPECT_THAT(with_names_of_readers({"embed_out"}, {module("embed_out", graph::Role::Head)}),
              ElementsAre("embed_out", "lm_head"));
  EXPECT_THAT(
      with_names_of_readers({"visual.merger.mlp.0", "model.layers.0.mlp.up_proj"}, {module("visual.merger.mlp.0")}),
      ElementsAre("visual.merger.mlp.0", "model.visual.merger.mlp.0", "model.layers.0.mlp.up_proj",
                  "model.language_model.layers.0.mlp.up_proj"));
  EXPECT_THAT(
      with_names_of_readers({"vision_tower.a", "multi_modal_projector", "vision_model.b", "language_model.lm_head",
                             "language_model.model.layers.1.q"},
                            {}),
      ElementsAre("vision_tower.a", "model.vision_tower.a", "multi_modal_projector", "model.multi_modal_projector",
                  "vision_model.b", "model.vision_model.b", "language_model.lm_head", "lm_head",
                  "language_model.model.layers.1.q", "model.language_model.layers.1.q"));
}

TEST(ReaderNames, NamesThatAreTheSameStandOnce) {
  const std::vector<graph::ModuleInfo> modules = {module("lm_head", graph::Role::Head), module("model.layers.0.q")};
  EXPECT_THAT(with_names_of_readers({"model.layers.0.q", "lm_head"}, modules),
              ElementsAre("model.layers.0.q", "lm_head"));
  EXPECT_THAT(with_names_of_readers({"model.visual.a"}, {module("model.visual.a")}), ElementsAre("model.visual.a"));
}

}  // namespace
}  // namespace swage::pipeline
