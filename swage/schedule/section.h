// A pass as a list: sections, each of them a list of actions, and what all of them take.
#pragma once
#include <string>
#include <vector>

#include "swage/schedule/action.h"
#include "swage/schedule/pass_costs.h"

namespace swage::pipeline {

// A part of a pass that is finished as a whole: a layer, or something before or after the layers.
template <class State>
struct SectionOn {
  std::string step;    // its name in the journal
  int64_t block = -1;  // -1: none
  std::vector<std::unique_ptr<const ActionOn<State>>> actions;
};

// Adds all actions' costs in order; not `solving`: of those alone that take activations through the model.
template <class State>
void add_costs(const std::vector<SectionOn<State>>& schedule, PassCosts& costs, bool solving = true) {
  for (const SectionOn<State>& section : schedule) {
    for (const auto& action : section.actions) {
      if (!solving && action->solves()) continue;
      costs.ledger.begin_action(action->at());
      action->cost(costs);
      costs.ledger.end_action();
    }
  }
}

}  // namespace swage::pipeline
