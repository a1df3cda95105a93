#include "swage/graph/schedule.h"

#include <algorithm>
#include <set>

#include "swage/base/error.h"
#include "swage/graph/walk.h"

namespace swage::graph {
namespace {

using Kind = Operation::Kind;

class Scheduler {
 public:
  explicit Scheduler(const BlockProgram& block) : block_(block) {
    int version = 0;
    for (const Node& node : block.nodes) {
      version_.push_back(version);
      for (const Value made : results_of(node)) version += made == kStream ? 1 : 0;
    }
  }

  Schedule run() {
    for (size_t n = 0; n < block_.nodes.size(); ++n) {
      const Node& node = block_.nodes[n];
      if (const auto* linear = std::get_if<LinearNode>(&node))
        n = add_linear(*linear, n);
      else if (const auto* experts = std::get_if<ExpertsNode>(&node))
        add_experts(*experts, n);
      else
        add(Kind::Run, n);
    }
    find_makers();
    find_last_uses();
    for (size_t s = 0; s < out_.stages.size(); ++s) finish_stage(s);
    return std::move(out_);
  }

 private:
  void add(Kind kind, size_t node, int expert = -1) { out_.operations.push_back({kind, node, expert}); }

  // Returns the last node that it covers.
  size_t add_linear(const LinearNode& linear, size_t n) {
    enter_stage(linear.in, n);
    const auto* sum = n + 1 < block_.nodes.size() ? std::get_if<AddNode>(&block_.nodes[n + 1]) : nullptr;
    const bool into = sum != nullptr && sum->in == linear.out && only_added(block_, linear.out) &&
                      block_.values[size_t(linear.out)].width == block_.values[kStream].width;
    add(into ? Kind::RunInto : Kind::Run, n);
    return into ? n + 1 : n;
  }

  void add_experts(const ExpertsNode& experts, size_t n) {
    enter_stage(experts.in, n);
    for (int e = 0; e < int(experts.experts.size()); ++e) {
      add(Kind::EnterExpert, n, e);
      Stage stage{cat("expert ", e, " output"), {{{experts.experts[size_t(e)].down}, e}}};
      stage.input = -1;
      stage.expert = e;
      begin_stage(std::move(stage));
      add(Kind::LeaveExpert, n, e);
    }
    add(Kind::Finish, n);
  }

  void begin_stage(Stage stage) {
    out_.stages.push_back(std::move(stage));
    out_.first.push_back(out_.operations.size());
  }

  // All that read `input` are solved together when the first of them has its turn.
  void enter_stage(Value input, size_t reader) {
    const int version = input == kStream ? version_[reader] : 0;  // the stream is another one after each sum
    if (!entered_.insert({input, version}).second) return;
    Stage stage;
    stage.input = input;
    InputGroup plain;
    std::vector<InputGroup> of_experts;
    for (size_t n = 0; n < block_.nodes.size(); ++n) {
      if (input == kStream && version_[n] != version) continue;
      const auto* linear = std::get_if<LinearNode>(&block_.nodes[n]);
      if (linear != nullptr && linear->in == input) plain.linears.push_back(linear->linear);
      const auto* experts = std::get_if<ExpertsNode>(&block_.nodes[n]);
      if (experts == nullptr || experts->in != input) continue;
      add(Kind::Route, n);
      stage.routes = true;
      for (int e = 0; e < int(experts->experts.size()); ++e) {
        of_experts.push_back({experts->experts[size_t(e)].inputs(), e});
      }
    }
    if (!plain.linears.empty()) stage.groups.push_back(std::move(plain));
    stage.groups.insert(stage.groups.end(), of_experts.begin(), of_experts.end());
    stage.name = name_of(stage);
    begin_stage(std::move(stage));
  }

  bool has(const Stage& stage, std::initializer_list<Role> roles) const {
    for (const InputGroup& group : stage.groups) {
      for (const int linear : group.linears) {
        if (std::find(roles.begin(), roles.end(), block_.linears[size_t(linear)].role) != roles.end()) return true;
      }
    }
    return false;
  }

  std::string name_of(const Stage& stage) const {
    const bool mlp = stage.routes || has(stage, {Role::Gate, Role::Up, Role::GateUp});
    if (has(stage, {Role::Latent, Role::Key, Role::QueryKeyValue}))
      return mlp ? "attention and mlp input" : "attention input";
    if (has(stage, {Role::Recurrence})) return "recurrence input";
    if (has(stage, {Role::KeyValue})) return "keys and values";
    if (has(stage, {Role::Query})) return "queries";
    if (has(stage, {Role::Output})) return "attention output";
    return mlp ? "mlp input" : "mlp output";
  }

  void find_makers() {
    made_by_.assign(block_.values.size(), out_.operations.size());
    for (size_t i = out_.operations.size(); i-- > 0;) {
      for (const Value value : results_of(block_.nodes[out_.operations[i].node])) made_by_[size_t(value)] = i;
    }
  }

  void find_last_uses() {
    out_.last_use.assign(block_.values.size(), 0);
    out_.last_stage.assign(block_.values.size(), -1);
    int stage = -1;
    for (size_t i = 0; i < out_.operations.size(); ++i) {
      while (size_t(stage + 1) < out_.first.size() && out_.first[size_t(stage + 1)] <= i) ++stage;
      const Operation& operation = out_.operations[i];
      const bool reads = operation.kind == Kind::Run || operation.kind == Kind::RunInto ||
                         operation.kind == Kind::Route;  // a mixture keeps what it routed
      for (const Value value : operands_of(block_.nodes[operation.node])) {
        if (reads) out_.last_use[size_t(value)] = i, out_.last_stage[size_t(value)] = stage;
      }
    }
  }

  bool runs_between(size_t first, size_t end, bool (*is)(const Operation&, const BlockProgram&)) const {
    return std::any_of(out_.operations.begin() + std::ptrdiff_t(first), out_.operations.begin() + std::ptrdiff_t(end),
                       [&](const Operation& operation) { return is(operation, block_); });
  }

  void finish_stage(size_t s) {
    Stage& stage = out_.stages[s];
    const size_t first = out_.first[s], end = out_.end_of(s);
    stage.attends = runs_between(first, end, [](const Operation& operation, const BlockProgram& block) {
      return std::holds_alternative<AttentionNode>(block.nodes[operation.node]);
    });
    stage.adds = runs_between(first, end, [](const Operation& operation, const BlockProgram& block) {
      return operation.kind == Kind::RunInto ||
             (operation.kind == Kind::Run && std::holds_alternative<AddNode>(block.nodes[operation.node]));
    });
    const bool one = stage.groups.size() == 1 && stage.groups[0].linears.size() == 1;
    stage.into_residual = one && out_.operations[first].kind == Kind::RunInto;
    out_.kept_width = std::max(out_.kept_width, kept_at(s));
  }

  // Values that were made before the stage and are read in later ones.
  int64_t kept_at(size_t s) const {
    int64_t width = 0;
    for (size_t value = 0; value < made_by_.size(); ++value) {
      if (Value(value) == kStream || made_by_[value] >= out_.first[s]) continue;
      const int first_without = Value(value) == out_.stages[s].input ? int(s) + 1 : int(s);
      if (out_.last_stage[value] >= first_without) width += block_.values[value].width;
    }
    return width;
  }

  const BlockProgram& block_;
  std::vector<int> version_;  // of the stream that each node reads
  std::set<std::pair<Value, int>> entered_;
  std::vector<size_t> made_by_;  // the first operation that makes a value
  Schedule out_;
};

}  // namespace

Schedule schedule_of(const BlockProgram& block) { return Scheduler(block).run(); }

}  // namespace swage::graph
