#include "swage/schedule/pass_costs.h"

#include <algorithm>

#include "swage/schedule/stage_inputs.h"

namespace swage::pipeline {
namespace {

using model::BlockShape, model::ModuleInfo, modifiers::LinearShape;

constexpr double kScoreRows = 256;  // of attention, at once in a thread
constexpr double kFragments = 2.5;  // room that small pieces take with the allocator, of their sum
constexpr int kAllocatorThreads =
    2;  // one thread leaves as much with the allocator as two do: measured, docs/performance.md

bool looks_back(const modifiers::Quantizer* quantizer) { return quantizer->target() != modifiers::Target::Weights; }

}  // namespace

double bytes_of_ends(const model::ModelShape& shape) {
  double sum = kFloat * double(shape.other_parameters);
  for (const ModuleInfo& end : shape.ends) {
    const bool shared = shape.tied_embeddings && end.is_head();
    if (!shared) sum += kFloat * double(end.parameters());
  }
  return sum;
}

double share_in_memory(const PlanInput& input) {
  if (input.rows_in_memory >= input.rows) return 1;
  return std::min(1.0, (double(input.rows_in_memory) + double(kInputsAtOnce) + 2 * input.threads) / double(input.rows));
}

double gram_scratch_bytes(double columns, double tokens, bool on_device) {
  if (on_device)
    return kCode16 * std::min(16384.0, tokens) * columns +
           kFloat * square(columns) / 4;  // inputs side by side, and a panel of their sums
  constexpr double kPackedFloats = 2 << 20;
  return kFloat * std::min(std::max(kPackedFloats, square(columns)), tokens * columns);
}

PassCosts::PassCosts(const PlanInput& input, Runs runs)
    : in(input),
      tokens(double(input.rows) * double(input.row_tokens)),
      hidden(double(input.shape.hidden_size)),
      runs_(runs) {
  stage.name = "calibrate";
}

bool PassCosts::corrects() const {
  const std::vector<const modifiers::Quantizer*>& quantizers = in.assignment.quantizers;
  return runs_ == Runs::AsSolved && std::any_of(quantizers.begin(), quantizers.end(), looks_back);
}

std::vector<LinearShape> PassCosts::quantized(int64_t b, const std::vector<int>& linears) const {
  std::vector<LinearShape> out;
  for (const int index : linears) {
    const ModuleInfo& linear = block(b).linears[size_t(index)];
    const scheme::Scheme* scheme = in.assignment.find(linear.name);
    if (scheme != nullptr) out.push_back({linear.rows, linear.columns, scheme->weights ? &*scheme->weights : nullptr});
  }
  return out;
}

std::vector<LinearShape> PassCosts::pruned(int64_t b, const std::vector<int>& linears) const {
  std::vector<LinearShape> out;
  for (const int index : linears) {
    const ModuleInfo& linear = block(b).linears[size_t(index)];
    if (in.sparsity.find(linear.name) == nullptr) continue;
    const scheme::Scheme* scheme = in.assignment.find(linear.name);
    out.push_back({linear.rows, linear.columns, scheme != nullptr && scheme->weights ? &*scheme->weights : nullptr});
  }
  return out;
}

bool PassCosts::kept_as_integers(const ModuleInfo& linear) const {
  const scheme::Scheme* scheme = in.assignment.find(linear.name);
  return runs_ == Runs::AsSolved && !in.on_device && scheme != nullptr && scheme->weights &&
         scheme->weights->type == scheme::NumberType::Int;
}

double PassCosts::copies_of_inputs(double columns) const {
  return (std::min(double(kInputsAtOnce), double(in.rows)) + 2 * in.threads) * double(in.row_tokens) * columns * kFloat;
}

double PassCosts::groups_of(const ModuleInfo& linear) const {
  const scheme::Scheme* scheme = in.assignment.find(linear.name);
  const bool grouped = scheme != nullptr && scheme->weights && scheme->weights->group_size.value_or(0) > 0;
  return 1 / double(grouped ? *scheme->weights->group_size : linear.columns);
}

void PassCosts::enter_block(int64_t b) {
  const BlockShape& shape = block(b);
  for (const ModuleInfo& linear : shape.linears) widest_ = std::max(widest_, double(linear.columns));
  kept_by_forward_ = in.on_device ? 0 : std::max(in.threads, kAllocatorThreads) * kFragments * small_temporaries(shape);
  ledger.hold(Buffer::TokenIds, kDouble * tokens);  // int64, as wide
  ledger.hold(Buffer::Allocator, kept_by_forward_);
  double routing = shape.experts > 0 ? tokens * (2 * kFloat * hidden + 24 * double(shape.top_k)) : 0;
  routing += kFloat * tokens * double(shape.kept_width);
  const double input = in.on_device ? kCode16 : kFloat;  // bytes of a number that a linear reads
  const double rows = tokens * (kFloat * hidden + input * widest_);
  activation_bytes = std::max(activation_bytes, uint64_t(streams() * (rows + routing)));
  ledger.hold(Buffer::Activations, streams() * (share_in_memory(in) * rows + routing));
}

// Of a forward pass in one thread: outputs of the linears and their inputs as integers, of one expert; norms,
// attention.
double PassCosts::small_temporaries(const BlockShape& shape) const {
  const double length = double(in.row_tokens);
  double sum = 0;
  const auto add = [&](double bytes) { sum += bytes < modifiers::kKeptBelow ? bytes : 0; };
  for (const model::Stage& one : shape.stages) {
    const model::InputGroup& group = one.groups.front();
    for (const int index : group.linears) add(kFloat * length * double(shape.linears[size_t(index)].rows));
    add(kCode16 * length * double(shape.linears[size_t(group.linears.front())].columns));
    if (one.groups.size() > 1) break;  // experts are alike
  }
  add(kFloat * length * double(shape.query_size));
  add(kFloat * length * hidden);
  add(kFloat * length * kScoreRows);
  return sum;
}

void PassCosts::enter_stage() {
  ledger.hold(Buffer::Gram, 0);
  measured_ = 0;
}

void PassCosts::measure(double columns, int expert, double copies) {
  if (measured_ > 0 && !(in.moe_routed && expert >= 0)) return;
  ++measured_;
  ledger.hold(Buffer::Gram, std::max(ledger.held(Buffer::Gram), kDouble * square(columns)));
  ledger.hold(Buffer::GramScratch,
              std::max(ledger.held(Buffer::GramScratch), gram_scratch_bytes(columns, tokens, in.on_device)));
  work().gram_flops += tokens * square(columns);
  ledger.moment({{"copies of inputs", copies}});
}

void PassCosts::solve(const modifiers::Cost& cost, std::string_view name, double more) {
  std::vector<std::string>& on_host = stage.on_host;
  if (in.on_device && !cost.on_device && std::find(on_host.begin(), on_host.end(), name) == on_host.end())
    on_host.emplace_back(name);
  add_work(cost);
  ledger.moment({{"solver", double(cost.scratch_bytes) + more, cost.on_device}});
}

void PassCosts::add_work(const modifiers::Cost& cost) {
  work().solve_flops += cost.flops;
  work().moved_bytes += kFloat * cost.passes;
}

void PassCosts::leave_small(double small) {
  ledger.hold(Buffer::Allocator, std::max(ledger.held(Buffer::Allocator), kept_by_forward_ + small));
}

}  // namespace swage::pipeline
