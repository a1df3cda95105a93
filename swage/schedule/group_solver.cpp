#include "swage/schedule/group_solver.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "swage/base/memory.h"
#include "swage/ops/integer_linear.h"
#include "swage/resolve/activation_scales.h"
#include "swage/resolve/output.h"

namespace swage::pipeline {

using model::Linear;

namespace {

// For the trace: "model.layers.0.self_attn.q_proj, k_proj, v_proj".
std::string names_of(const std::vector<Linear*>& linears) {
  std::string out;
  for (const Linear* linear : linears)
    out += out.empty() ? linear->name : ", " + linear->name.substr(linear->name.rfind('.') + 1);
  return out;
}

}  // namespace

constexpr size_t kLargeGramBytes = 16 << 20;

void put_into(Linear& linear, const format::QuantizedWeight& weight) {
  const at::Device device = linear.weight_OI.device();
  linear.integer_weight.reset();
  linear.weight_OI = at::Tensor();
  const bool integers = weight.codes_OI.scalar_type() == at::kChar;  // bytes are the codes of narrow floats
  const bool grouped_in_order = !orders_columns(weight) && weight.scale_OG.dim() == 2;
  if (device.is_cpu() && integers && grouped_in_order)
    linear.integer_weight = ops::IntegerLinear::make(weight.codes_OI, weight.scale_OG, weight.zero_point_OG);
  if (!linear.integer_weight) linear.weight_OI = format::dequantize(weight).to(device);
}

namespace {

// What is written, checked and kept for the end of a block lies on the host.
void to_host(format::QuantizedWeight& weight) {
  for (at::Tensor* tensor :
       {&weight.codes_OI, &weight.scale_OG, &weight.zero_point_OG, &weight.g_idx_I, &weight.global_scale}) {
    if (tensor->defined()) *tensor = tensor->cpu();
  }
}

}  // namespace

void GroupSolver::quantize(const std::vector<Linear*>& group, int expert) {
  std::vector<std::vector<Linear*>> parts;  // that one modifier solves at once, for inputs that are quantized alike
  for (Linear* linear : group) {
    if (run_.assignment.find(linear->name) == nullptr) continue;
    const auto goes_with = [&](const std::vector<Linear*>& part) { return are_solved_alike(*part[0], *linear); };
    const auto part = std::find_if(parts.begin(), parts.end(), goes_with);
    if (part != parts.end())
      part->push_back(linear);
    else
      parts.push_back({linear});
  }
  for (const std::vector<Linear*>& part : parts) quantize(run_.assignment.quantizer_of(part[0]->name), part, expert);
}

void GroupSolver::solve_lookup(Linear& embedding) {
  lookup_ = true;
  prune({&embedding}, -1);
  quantize({&embedding}, -1);
  lookup_ = false;
}

// Each modifier prunes its own at once.
void GroupSolver::prune(const std::vector<Linear*>& group, int expert) {
  std::vector<Linear*> left;
  for (Linear* linear : group) {
    if (run_.sparsity.find(linear->name) != nullptr) left.push_back(linear);
  }
  while (!left.empty()) {
    const Sparsity::Choice choice = *run_.sparsity.find(left[0]->name);
    const std::shared_ptr<const ops::Transform> transform = left[0]->input_transform;
    const auto is_pruned_alike = [&](const Linear* linear) {
      const Sparsity::Choice& other = *run_.sparsity.find(linear->name);
      return linear->input_transform == transform && other.by == choice.by &&
             other.pattern.sparsity == choice.pattern.sparsity;
    };
    const auto rest = std::stable_partition(left.begin(), left.end(), is_pruned_alike);
    prune(choice, {left.begin(), rest}, expert);
    left.erase(left.begin(), rest);
  }
}

void GroupSolver::prune(const Sparsity::Choice& choice, const std::vector<Linear*>& linears, int expert) {
  std::vector<modifiers::LinearTask> tasks;
  for (const Linear* linear : linears)
    tasks.push_back({linear->name, linear->weight_OI, stored_type(run_, linear->stored_in)});
  std::string warning;
  modifiers::Statistics statistics;
  if (choice.by->needs_calibration())
    statistics = inputs_.statistics(linears[0]->columns, expert, {linears[0]->input_transform}, warning);
  std::vector<modifiers::SparsifiedLinear> pruned;
  {
    const auto timed = run_.clock.time("prune", names_of(linears));
    pruned = choice.by->sparsify(tasks, statistics, choice.pattern);
  }
  for (size_t i = 0; i < linears.size(); ++i) {
    if (!warning.empty()) pruned[i].warnings.push_back(warning);
    linears[i]->weight_OI = pruned[i].weight_OI.to(linears[i]->weight_OI.device());
    if (run_.assignment.find(linears[i]->name) ==
        nullptr) {  // it stays dense: the rest of the run sees what will be stored
      linears[i]->weight_OI = linears[i]->weight_OI.to(tasks[i].stored_dtype).to(at::kFloat);
    }
    pruned[i].weight_OI = at::Tensor();
    pruned_[linears[i]->name] = {std::move(pruned[i]), statistics.tokens};
  }
}

bool GroupSolver::are_solved_alike(const Linear& a, const Linear& b) const {
  return a.input_transform == b.input_transform &&
         &run_.assignment.quantizer_of(a.name) == &run_.assignment.quantizer_of(b.name) &&
         run_.assignment.find(a.name)->input_activations == run_.assignment.find(b.name)->input_activations;
}

void GroupSolver::quantize(const modifiers::Quantizer& quantizer, const std::vector<Linear*>& linears, int expert) {
  std::vector<modifiers::LinearTask> tasks;
  bool pruned = false;
  for (const Linear* linear : linears) {
    tasks.push_back(
        {linear->name, linear->weight_OI, stored_type(run_, linear->stored_in), run_.assignment.find(linear->name)});
    tasks.back().keep_zeros = run_.sparsity.find(linear->name) != nullptr;
    pruned = pruned || tasks.back().keep_zeros;
  }
  const std::shared_ptr<const ops::Transform> transform = linears[0]->input_transform;
  const LinearInput input{transform, inputs_.quantization(tasks[0], expert, transform)};
  std::string warning;
  modifiers::Statistics statistics;
  std::vector<solvers::CorrectedTarget> targets;
  if (quantizer.needs_calibration() && !lookup_) {
    if (!pruned && inputs_.can_correct(quantizer, expert))
      targets = inputs_.correct(quantizer, input, tasks, statistics);  // it would fill zeros
    else
      statistics = inputs_.statistics(linears[0]->columns, expert, input, warning);
  }
  std::vector<modifiers::SolvedLinear> solved;
  {
    const auto timed = run_.clock.time("solve", names_of(linears));
    if (statistics.gram_II.defined() && statistics.gram_II.nbytes() >= kLargeGramBytes)
      release_free_memory();  // the forward's, before as much is taken again
    solved = quantizer.quantize(tasks, statistics);
  }
  const auto timed = run_.clock.time("pack and write", names_of(linears));
  for (size_t i = 0; i < linears.size(); ++i) {
    if (!warning.empty()) solved[i].warnings.push_back(warning);
    if (!targets.empty()) solved[i].target = {targets[i].ridge, targets[i].fitted, targets[i].held_out};
    linears[i]->input_quantization = input.quantization;
    if (input.quantization) put_input(run_.writer, linears[i]->name, *input.quantization, tasks[i].stored_dtype);
    tasks[i].weight_OI = at::Tensor();  // the linear's own float weight goes when the solved one takes its place
    put(*linears[i], std::move(solved[i]), statistics.tokens);
  }
}

void GroupSolver::put(Linear& linear, modifiers::SolvedLinear solved, int64_t tokens) {
  if (const auto found = pruned_.find(linear.name); found != pruned_.end()) {
    modifiers::add_pruning(found->second.pruned, solved);
    pruned_.erase(found);
  }
  const bool on_device = !linear.weight_OI.is_cpu();
  put_into(linear, solved.weight);
  to_host(solved.weight);
  if (run_.rescalings.follow_linears) {
    pending_.push_back({linear.name, std::move(solved), tokens});
  } else if (on_device) {  // the processors have nothing else to do meanwhile
    const auto kept = std::make_shared<const modifiers::SolvedLinear>(std::move(solved));
    writing_.push_back(std::async(std::launch::async, [this, name = linear.name, kept, tokens] {
      return write_module(run_, name, *kept, tokens);
    }));
  } else {
    finish_module(run_, linear.name, solved, tokens);
  }
}

void GroupSolver::note_written() {
  for (std::future<ModuleReport>& written : writing_) note_module(run_, written.get());
  writing_.clear();
}

bool GroupSolver::divide_waiting(const std::string& name, const at::Tensor& s_O) {
  const auto waiting =
      std::find_if(pending_.begin(), pending_.end(), [&](const Pending& module) { return module.name == name; });
  if (waiting == pending_.end()) return false;
  at::Tensor& scale_OG = waiting->solved.weight.scale_OG;
  scale_OG = scale_OG.to(at::kFloat).div(s_O.unsqueeze(1)).to(scale_OG.scalar_type());
  return true;
}

void GroupSolver::finish(const model::Block& block) {
  const auto timed = run_.clock.time("pack and write");
  note_written();
  for (const Pending& module : pending_) finish_module(run_, module.name, module.solved, module.tokens);
  pending_.clear();
  for (const Linear& linear : block.linears) finish(linear);
}

void GroupSolver::finish(const Linear& linear) {
  note_written();
  const std::string name = linear.name + ".weight";
  if (run_.rescalings.rewritten.contains(name) || run_.sparsity.rewritten.contains(name))
    put_rewritten(run_, name, linear.weight_OI);
  const auto found = pruned_.find(linear.name);
  if (found == pruned_.end()) return;
  finish_pruned(run_, linear.name, found->second.pruned, linear.weight_OI.cpu().to(stored_type(run_, linear.stored_in)),
                found->second.tokens);
  pruned_.erase(found);
}

}  // namespace swage::pipeline
