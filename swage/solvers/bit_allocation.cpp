#include "swage/solvers/bit_allocation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "swage/base/error.h"

namespace swage::solvers {
namespace {

using Units = std::vector<std::vector<BitOption>>;

constexpr double kRounding = 1e-12;  // of sums of costs, relative: bounds are compared with this much slack

// The options of a unit that can be best at some price of a byte: the lower convex hull, by rising size.
std::vector<int> hull_of(const std::vector<BitOption>& options) {
  std::vector<int> order(options.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = int(i);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    const BitOption &x = options[size_t(a)], &y = options[size_t(b)];
    return x.bytes != y.bytes ? x.bytes < y.bytes : x.cost < y.cost;
  });
  std::vector<int> hull;
  for (const int index : order) {
    const BitOption& now = options[size_t(index)];
    if (!hull.empty() && options[size_t(hull.back())].cost <= now.cost) continue;
    while (hull.size() >= 2) {
      const BitOption &a = options[size_t(hull[hull.size() - 2])], &b = options[size_t(hull.back())];
      const double first = (a.cost - b.cost) * double(now.bytes - b.bytes),
                   second = (b.cost - now.cost) * double(b.bytes - a.bytes);
      if (first > second) break;
      hull.pop_back();
    }
    hull.push_back(index);
  }
  return hull;
}

// A unit's way from one option of its hull to the next.
struct Step {
  size_t unit;
  int option;
  int64_t bytes;
  double gain;
  double slope() const { return gain / double(bytes); }
};

// The relaxed problem: steps by falling gain a byte while they fit. What is left out of the last one gives the price of
// a byte.
struct Relaxed {
  std::vector<int> chosen;
  double price = 0;  // cost that another byte would save
};

Relaxed relax(const Units& units, int64_t budget) {
  Relaxed out;
  std::vector<Step> steps;
  int64_t left = budget;
  for (size_t u = 0; u < units.size(); ++u) {
    const std::vector<int> hull = hull_of(units[u]);
    out.chosen.push_back(hull[0]);
    left -= units[u][size_t(hull[0])].bytes;
    for (size_t i = 1; i < hull.size(); ++i) {
      const BitOption &before = units[u][size_t(hull[i - 1])], &after = units[u][size_t(hull[i])];
      steps.push_back({u, hull[i], after.bytes - before.bytes, before.cost - after.cost});
    }
  }
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.slope() > b.slope(); });
  std::vector<bool> closed(units.size());  // a unit that could not take a step takes no later one
  for (const Step& step : steps) {
    if (closed[step.unit]) continue;
    if (step.bytes > left) {
      if (out.price == 0) out.price = step.slope();
      closed[step.unit] = true;
      continue;
    }
    out.chosen[step.unit] = step.option;
    left -= step.bytes;
  }
  return out;
}

// A choice for the first units.
struct State {
  int64_t bytes;
  double cost;
  int32_t parent;  // in the table of the unit before
  int32_t option;
};

class Allocation {
 public:
  Allocation(const Units& units, int64_t budget, int64_t most_states)
      : units_(units),
        budget_(budget),
        most_states_(size_t(most_states)) {
    const Relaxed relaxed = relax(units, budget);
    price_ = relaxed.price;
    take(relaxed.chosen);
    least_bytes_.assign(units.size() + 1, 0);
    least_priced_.assign(units.size() + 1, 0);
    for (size_t u = units.size(); u-- > 0;) {
      int64_t bytes = std::numeric_limits<int64_t>::max();
      double priced = std::numeric_limits<double>::infinity();
      for (const BitOption& option : units[u]) {
        bytes = std::min(bytes, option.bytes);
        priced = std::min(priced, option.cost + price_ * double(option.bytes));
        scale_ += std::abs(option.cost) + price_ * double(option.bytes);
      }
      least_bytes_[u] = least_bytes_[u + 1] + bytes;
      least_priced_[u] = least_priced_[u + 1] + priced;
    }
    out_.bound = std::min(out_.cost, least_priced_[0] - price_ * double(budget));
  }

  BitAllocation run() {
    tables_.push_back({State{0, 0, -1, -1}});
    for (size_t u = 0; u < units_.size(); ++u) extend(u);
    const std::vector<State>& last = tables_.back();
    int best = -1;
    for (size_t i = 0; i < last.size(); ++i) {
      if (last[i].cost < (best < 0 ? out_.cost : last[size_t(best)].cost)) best = int(i);
    }
    if (best >= 0) take(chosen_of(best));
    if (out_.optimal) out_.bound = out_.cost;
    return out_;
  }

 private:
  void take(const std::vector<int>& chosen) {
    out_.chosen = chosen;
    out_.bytes = 0;
    out_.cost = 0;
    for (size_t u = 0; u < units_.size(); ++u) {
      out_.bytes += units_[u][size_t(chosen[u])].bytes;
      out_.cost += units_[u][size_t(chosen[u])].cost;
    }
  }

  // What all units cost at least, if the first `done` ones are as in the state.
  double bound(const State& state, size_t done) const {
    return state.cost + least_priced_[done] + price_ * double(state.bytes - budget_);
  }

  void extend(size_t u) {
    const std::vector<State>& before = tables_.back();
    std::vector<State> now;
    for (size_t s = 0; s < before.size(); ++s) {
      for (size_t o = 0; o < units_[u].size(); ++o) {
        const State state{before[s].bytes + units_[u][o].bytes, before[s].cost + units_[u][o].cost, int32_t(s),
                          int32_t(o)};
        if (state.bytes + least_bytes_[u + 1] > budget_) continue;
        if (bound(state, u + 1) > out_.cost + kRounding * scale_) continue;
        now.push_back(state);
      }
    }
    keep_undominated(now);
    if (now.size() > most_states_) cut(now, u + 1);
    tables_.push_back(std::move(now));
  }

  static void keep_undominated(std::vector<State>& states) {
    std::stable_sort(states.begin(), states.end(), [](const State& a, const State& b) {
      return a.bytes != b.bytes ? a.bytes < b.bytes : a.cost < b.cost;
    });
    size_t kept = 0;
    for (const State& state : states) {
      if (kept == 0 || state.cost < states[kept - 1].cost) states[kept++] = state;
    }
    states.resize(kept);
  }

  // Keeps the most promising ones.
  void cut(std::vector<State>& states, size_t done) {
    out_.optimal = false;
    std::stable_sort(states.begin(), states.end(),
                     [&](const State& a, const State& b) { return bound(a, done) < bound(b, done); });
    states.resize(most_states_);
  }

  std::vector<int> chosen_of(int state) const {
    std::vector<int> chosen(units_.size());
    for (size_t u = units_.size(); u-- > 0;) {
      const State& at = tables_[u + 1][size_t(state)];
      chosen[u] = at.option;
      state = at.parent;
    }
    return chosen;
  }

  const Units& units_;
  const int64_t budget_;
  const size_t most_states_;
  double price_ = 0, scale_ = 0;
  std::vector<int64_t> least_bytes_;  // of units u, u + 1, ...
  std::vector<double> least_priced_;  // the same: cost and price of the bytes
  std::vector<std::vector<State>> tables_;
  BitAllocation out_;  // the best so far
};

void check_units(const Units& units, int64_t budget) {
  int64_t least = 0;
  for (size_t u = 0; u < units.size(); ++u) {
    SWAGE_CHECK(!units[u].empty(), InvalidArgument, "allocate_bits: unit ", u, " has no option");
    int64_t smallest = std::numeric_limits<int64_t>::max();
    for (const BitOption& option : units[u]) {
      SWAGE_CHECK(std::isfinite(option.cost) && option.bytes >= 0, InvalidArgument, "allocate_bits: unit ", u,
                  " has an option of ", option.bytes, " bytes and cost ", option.cost);
      smallest = std::min(smallest, option.bytes);
    }
    least += smallest;
  }
  SWAGE_CHECK(least <= budget, InvalidArgument, "allocate_bits: the smallest options take ", least,
              " bytes, but the budget is ", budget);
}

}  // namespace

BitAllocation allocate_bits(const Units& units, int64_t budget_bytes, const BitAllocationOptions& options) {
  check_units(units, budget_bytes);
  SWAGE_CHECK(options.most_states >= 1, InvalidArgument, "allocate_bits: most_states ", options.most_states,
              ": expected a positive number");
  return Allocation(units, budget_bytes, options.most_states).run();
}

}  // namespace swage::solvers
