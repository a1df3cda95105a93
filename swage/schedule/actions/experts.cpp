#include "swage/schedule/action.h"
#include "swage/schedule/pass_costs.h"
#include "swage/schedule/pass_state.h"

namespace swage::pipeline::actions {
namespace {

using model::BlockShape, model::InputGroup, model::ModuleInfo, model::Stage;

// At the input of a layer's mixture: measures all its experts, takes those out that go, and routes all tokens again.
class PruneExperts : public PassAction {
 public:
  PruneExperts(std::string at, int64_t b) : PassAction(std::move(at)), b_(b) {}
  bool solves() const override { return true; }

  // A forward pass through all experts for the tokens that are routed to them. Each may get all tokens of a row: its
  // input, what is inside, its output.
  void cost(PassCosts& costs) const override {
    const BlockShape& whole = costs.whole(b_);
    double an_expert = 0, inside = 0;
    for (const Stage& stage : whole.stages) {
      if (!stage.routes && stage.expert != 0) continue;
      for (const InputGroup& group : stage.groups) {
        for (const int index : group.expert == 0 ? group.linears : std::vector<int>()) {
          const ModuleInfo& linear = whole.linears[size_t(index)];
          an_expert += double(linear.parameters());
          inside += stage.routes ? double(linear.rows) : 0;
        }
      }
    }
    const double routed = costs.tokens * double(whole.top_k), numbers = inside + 2 * costs.hidden;
    costs.work().linear_flops += 2 * routed * an_expert;
    costs.work().moved_bytes += kForwardPasses * kFloat * routed * numbers;
    costs.ledger.moment({{"forward pass", costs.forward_threads() * kFloat * double(costs.in.row_tokens) * numbers}});
  }

  void run(PassState& state) const override { state.experts->prune(*state.block, b_); }

 private:
  int64_t b_;
};

}  // namespace

ActionPtr prune_experts(std::string at, int64_t b) { return std::make_unique<PruneExperts>(std::move(at), b); }

}  // namespace swage::pipeline::actions
