// For tests: a tiny model's first block, stopped before the linears of a stage.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "swage/checkpoint/reader.h"
#include "swage/format/weight_source.h"
#include "swage/model/model.h"
#include "swage/schedule/activations.h"

namespace swage::pipeline {

// With four rows of 24 tokens at the inputs of stage s.
struct Stopped {
  checkpoint::Reader reader;
  format::CheckpointWeights weights{reader};
  std::unique_ptr<model::Model> model = model::make_model(reader.config(), weights);
  std::unique_ptr<model::Block> block;
  std::optional<Activations> activations;

  Stopped(const char* name, int s) : reader(std::filesystem::path(SWAGE_TEST_DATA) / "model" / name) {
    model->load_ends(weights);
    activations.emplace(*model, at::arange(4 * 24).remainder(model->vocabulary_size()).view({4, 24}), offload::Tiers());
    block = model->load_block(0, weights);
    for (const model::Linear& linear : block->linears) activations->make_room(linear.columns);
    activations->advance([&](model::Flow& flow) { block->begin(flow); });
    for (int i = 0; i < s; ++i) activations->advance([&](model::Flow& flow) { block->step(i, flow); });
  }

  int64_t columns() const { return activations->flows()[0].input_TI.size(1); }

  std::vector<model::Linear*> linears_of(size_t s) const {
    std::vector<model::Linear*> out;
    for (const model::InputGroup& group : block->stages[s].groups) {
      for (const int index : group.linears) out.push_back(&block->linears[size_t(index)]);
    }
    return out;
  }
};

}  // namespace swage::pipeline
