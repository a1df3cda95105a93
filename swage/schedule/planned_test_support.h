// A model of tests/data and a recipe of one modifier, as a plan has them.
#pragma once
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "swage/base/error.h"
#include "swage/checkpoint/no_weights.h"
#include "swage/schedule/calibrated_schedule.h"

namespace swage::pipeline {

inline Json config_of_model(const std::string& name) {
  std::ifstream file(cat(SWAGE_TEST_DATA, "/model/", name, "/config.json"));
  std::ostringstream text;
  text << file.rdbuf();
  return parse_json(text.str(), name);
}

struct Planned {
  Planned(const std::string& name, const char* modifier, const char* fields) {
    modifiers.push_back(modifiers::make_modifier(modifier, parse_json(fields, "fields"), "test"));
    chain = modifiers::make_chain(modifiers);
    const auto model = model::make_model(config_of_model(name), checkpoint::NoWeights());
    shape = model->shape();
    assignment = assign_schemes(chain, *model, {});
    sparsity = resolve_sparsity(chain, *model, assignment);
    input.rows = 8;
    input.row_tokens = 32;
    schedule = calibrated_schedule(input);
  }

  std::vector<std::unique_ptr<modifiers::Modifier>> modifiers;
  modifiers::Chain chain;
  model::ModelShape shape;
  Assignment assignment;
  Sparsity sparsity;
  PlanInput input{.shape = shape, .assignment = assignment, .sparsity = sparsity, .chain = chain};
  CalibratedSchedule schedule;
};

}  // namespace swage::pipeline
