#include "swage/resolve/bit_budget.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "swage/base/error.h"
#include "swage/base/memory_budget.h"
#include "swage/resolve/output.h"
#include "swage/scheme/fused_sets.h"

namespace swage::pipeline {
namespace {

using solvers::BitOption;

constexpr int kMostRounds = 8;       // in which what headers take settles
constexpr int kFrontierPoints = 17;  // of the row of budgets in the report

std::vector<std::vector<BitOption>> options_of(const std::vector<BudgetUnit>& units, const BudgetCosts& costs) {
  std::vector<std::vector<BitOption>> out;
  for (size_t u = 0; u < units.size(); ++u) {
    auto& options = out.emplace_back();
    for (size_t c = 0; c < costs[u].size(); ++c) options.push_back({units[u].bytes[c], costs[u][c]});
  }
  return out;
}

// What all units take together.
struct Reach {
  int64_t parameters = 0, least = 0, most = 0;
};

Reach reach_of(const std::vector<BudgetUnit>& units) {
  Reach out;
  for (const BudgetUnit& unit : units) {
    out.parameters += unit.parameters;
    out.least += *std::min_element(unit.bytes.begin(), unit.bytes.end());
    out.most += *std::max_element(unit.bytes.begin(), unit.bytes.end());
  }
  return out;
}

std::string bits_text(double bits) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.4f", bits);
  return buffer;
}

double bits_of(int64_t bytes, int64_t parameters) { return 8 * double(bytes) / double(parameters); }

std::string candidates_text(const Assignment& assignment) {
  std::string out;
  for (size_t c = 0; c < assignment.budget->count; ++c)
    out += (c == 0 ? "" : ", ") + assignment.scheme_names[assignment.budget->first + c];
  return out;
}

int64_t budget_of_bits(const Assignment& assignment, const Reach& reach, double bits) {
  const double bytes = std::floor(bits * double(reach.parameters) / 8);
  SWAGE_CHECK(bytes >= double(reach.least) && bytes <= double(reach.most), InvalidArgument, "target_bits ", bits,
              ": with ", candidates_text(assignment), " these modules take from ",
              bits_text(bits_of(reach.least, reach.parameters) + 5e-5), " to ",
              bits_text(bits_of(reach.most, reach.parameters) - 5e-5), " bits a weight");
  return int64_t(bytes);
}

int64_t bytes_of_units(const std::vector<BudgetUnit>& units, const Assignment& assignment) {
  int64_t sum = 0;
  for (const BudgetUnit& unit : units)
    sum += unit.bytes[assignment.scheme_of.at(unit.modules[0]) - assignment.budget->first];
  return sum;
}

void apply(const std::vector<BudgetUnit>& units, const std::vector<int>& chosen, Assignment& assignment) {
  const BitBudget& budget = *assignment.budget;
  for (size_t c = 0; c < budget.count; ++c) assignment.schemes[budget.first + c].targets.clear();
  for (size_t u = 0; u < units.size(); ++u) {
    const size_t scheme = budget.first + size_t(chosen[u]);
    for (const std::string& module : units[u].modules) {
      assignment.scheme_of[module] = scheme;
      assignment.schemes[scheme].targets.push_back(module);
    }
  }
}

// Bytes of the target's text; for the modules what the rest of the output leaves of it.
struct SizeTarget {
  int64_t whole = 0, rest = 0;
};

SizeTarget size_target(const std::vector<BudgetUnit>& units, const OutputBytes& output_bytes,
                       const Assignment& assignment, const Reach& reach) {
  const std::string& text = *assignment.budget->quantizer->quantization().target_size;
  SizeTarget out;
  try {
    out.whole = int64_t(parse_bytes(text));
  } catch (Error& e) {
    e.add_context("target_size");
    throw;
  }
  out.rest = int64_t(output_bytes(assignment)) - bytes_of_units(units, assignment);
  SWAGE_CHECK(out.whole >= out.rest + reach.least && out.whole <= out.rest + reach.most, InvalidArgument,
              "target_size ", text, ": with ", candidates_text(assignment), " the output takes from ",
              out.rest + reach.least, " to ", out.rest + reach.most, " bytes");
  return out;
}

Json point(double bits, double loss) {
  Json out = Json::object();
  out.set("bits_per_weight", bits);
  out.set("predicted_loss", loss);
  return out;
}

// The least loss at budgets from the smallest to the largest that can be kept to.
Json frontier(const std::vector<BudgetUnit>& units, const BudgetCosts& costs) {
  const Reach reach = reach_of(units);
  const auto options = options_of(units, costs);
  Json out = Json::array();
  for (int i = 0; i < kFrontierPoints; ++i) {
    const int64_t budget = reach.least + (reach.most - reach.least) * i / (kFrontierPoints - 1);
    const solvers::BitAllocation best = solvers::allocate_bits(options, budget);
    out.push_back(point(bits_of(best.bytes, reach.parameters), best.cost));
  }
  return out;
}

Json uniform_choices(const Assignment& assignment, const std::vector<BudgetUnit>& units, const BudgetCosts& costs) {
  Json out = Json::array();
  for (size_t c = 0; c < assignment.budget->count; ++c) {
    int64_t bytes = 0;
    double loss = 0;
    for (size_t u = 0; u < units.size(); ++u) {
      bytes += units[u].bytes[c];
      loss += costs[u][c];
    }
    Json entry = point(bits_of(bytes, reach_of(units).parameters), loss);
    entry.set("scheme", assignment.scheme_names[assignment.budget->first + c]);
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace

std::string budget_unit_of(const model::ModuleInfo& module) {
  if (module.expert < 0) return scheme::fused_set(module.name);
  const size_t number = module.name.rfind(cat(".", module.expert, "."));
  SWAGE_CHECK(number != std::string::npos, Internal, module.name, ": has not the number of expert ", module.expert);
  return module.name.substr(0, number);
}

std::vector<BudgetUnit> budget_units(const Assignment& assignment, const std::vector<model::ModuleInfo>& modules,
                                     const std::function<io::Dtype(const model::ModuleInfo&)>& dtype_of) {
  const BitBudget& budget = *assignment.budget;
  std::vector<BudgetUnit> units;
  std::map<std::string, size_t> index_of;
  for (const model::ModuleInfo& module : modules) {
    const auto found = assignment.scheme_of.find(module.name);
    if (found == assignment.scheme_of.end() || found->second < budget.first ||
        found->second >= budget.first + budget.count)
      continue;
    SWAGE_CHECK(module.block >= 0, Unsupported, module.name,
                ": a bit budget is for the layers; add it to ignore, or give it a modifier with a scheme of its own");
    const auto [at, fresh] = index_of.try_emplace(budget_unit_of(module), units.size());
    if (fresh)
      units.push_back({.name = at->first,
                       .block = module.block,
                       .modules = {},
                       .parameters = 0,
                       .bytes = std::vector<int64_t>(budget.count)});
    BudgetUnit& unit = units[at->second];
    unit.modules.push_back(module.name);
    unit.parameters += module.parameters();
    for (size_t c = 0; c < budget.count; ++c)
      unit.bytes[c] += int64_t(stored_bytes(assignment.schemes[budget.first + c], module, dtype_of(module)));
  }
  return units;
}

Json to_json(const BudgetCosts& costs) {
  Json out = Json::array();
  for (const std::vector<double>& of_unit : costs) {
    Json list = Json::array();
    for (const double cost : of_unit) list.push_back(cost);
    out.push_back(std::move(list));
  }
  return out;
}

BudgetCosts costs_from_json(const Json& json, const std::vector<BudgetUnit>& units) {
  BudgetCosts out;
  for (const Json& of_unit : json.as_array()) {
    auto& costs = out.emplace_back();
    for (const Json& cost : of_unit.as_array()) costs.push_back(cost.as_double());
    const bool fits = out.size() <= units.size() && costs.size() == units[out.size() - 1].bytes.size();
    SWAGE_CHECK(fits, CorruptData, "bit costs: unit ", out.size() - 1, " has ", costs.size(),
                " of them, which is not what the recipe has candidates for");
  }
  SWAGE_CHECK(out.size() == units.size(), CorruptData, "bit costs: of ", out.size(), " units, but the model has ",
              units.size());
  return out;
}

BudgetCosts costs_of_shapes(const Assignment& assignment, const std::vector<BudgetUnit>& units) {
  const BitBudget& budget = *assignment.budget;
  BudgetCosts out;
  for (const BudgetUnit& unit : units) {
    auto& costs = out.emplace_back();
    for (size_t c = 0; c < budget.count; ++c)
      costs.push_back(double(unit.parameters) * std::pow(0.25, assignment.schemes[budget.first + c].weights->num_bits));
  }
  return out;
}

BudgetOutcome keep_to_budget(const std::vector<BudgetUnit>& units, const BudgetCosts& costs,
                             const OutputBytes& output_bytes, Assignment& assignment) {
  const modifiers::QuantizationFields& fields = assignment.budget->quantizer->quantization();
  const Reach reach = reach_of(units);
  const auto options = options_of(units, costs);
  BudgetOutcome out;
  SizeTarget size;
  if (fields.target_bits) {
    out.budget_bytes = budget_of_bits(assignment, reach, *fields.target_bits);
  } else {
    size = size_target(units, output_bytes, assignment, reach);
    out.budget_bytes = size.whole - size.rest;
  }
  for (int round = 0;; ++round) {
    out.allocation = solvers::allocate_bits(options, out.budget_bytes);
    apply(units, out.allocation.chosen, assignment);
    if (fields.target_bits) break;
    const int64_t excess = int64_t(output_bytes(assignment)) - size.whole;  // headers differ in their digits
    if (excess <= 0) break;
    out.budget_bytes -= excess;
    SWAGE_CHECK(round < kMostRounds && out.budget_bytes >= reach.least, InvalidArgument, "target_size ",
                *fields.target_size, ": the smallest output takes ", excess, " bytes more");
  }
  out.bits_per_weight = bits_of(out.allocation.bytes, reach.parameters);
  return out;
}

size_t probed_candidate(const std::vector<BudgetUnit>& units, int64_t budget_bytes) {
  size_t best = 0;
  int64_t best_distance = 0;
  for (size_t c = 0; c < units[0].bytes.size(); ++c) {
    int64_t bytes = 0;
    for (const BudgetUnit& unit : units) bytes += unit.bytes[c];
    const int64_t distance = std::abs(bytes - budget_bytes);
    if (c == 0 || distance < best_distance) {
      best = c;
      best_distance = distance;
    }
  }
  return best;
}

std::string budget_summary(const Assignment& assignment, const BudgetOutcome& outcome) {
  std::string out = "bit budget: " + bits_text(outcome.bits_per_weight) + " bits a weight: ";
  for (size_t c = 0; c < assignment.budget->count; ++c) {
    const size_t scheme = assignment.budget->first + c;
    out += cat(c == 0 ? "" : ", ", assignment.scheme_names[scheme], " in ", assignment.schemes[scheme].targets.size(),
               " modules");
  }
  return out;
}

Json budget_report(const Assignment& assignment, const std::vector<BudgetUnit>& units, const BudgetCosts& costs,
                   const BudgetOutcome& outcome) {
  const BitBudget& budget = *assignment.budget;
  const modifiers::QuantizationFields& fields = budget.quantizer->quantization();
  Json out = Json::object(), list = Json::array(), candidates = Json::array();
  if (fields.target_bits)
    out.set("target_bits", *fields.target_bits);
  else
    out.set("target_bytes", int64_t(parse_bytes(*fields.target_size)));
  out.set("bits_per_weight", outcome.bits_per_weight);
  out.set("predicted_loss", outcome.allocation.cost);
  out.set("lower_bound", outcome.allocation.bound);
  for (size_t c = 0; c < budget.count; ++c) candidates.push_back(assignment.scheme_names[budget.first + c]);
  for (size_t u = 0; u < units.size(); ++u) {
    Json unit = Json::object(), losses = Json::array(), modules = Json::array();
    unit.set("name", units[u].name);
    unit.set("layer", units[u].block);
    unit.set("scheme", assignment.scheme_names[budget.first + size_t(outcome.allocation.chosen[u])]);
    unit.set("bits_per_weight", bits_of(units[u].bytes[size_t(outcome.allocation.chosen[u])], units[u].parameters));
    unit.set("parameters", units[u].parameters);
    for (const double cost : costs[u]) losses.push_back(cost);
    unit.set("predicted_losses", std::move(losses));
    for (const std::string& module : units[u].modules) modules.push_back(module);
    unit.set("modules", std::move(modules));
    list.push_back(std::move(unit));
  }
  out.set("candidates", std::move(candidates));
  out.set("units", std::move(list));
  out.set("uniform", uniform_choices(assignment, units, costs));
  out.set("frontier", frontier(units, costs));
  return out;
}

}  // namespace swage::pipeline
