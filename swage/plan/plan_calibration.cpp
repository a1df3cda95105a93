#include "swage/plan/plan_calibration.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/plan/plan_memory.h"
#include "swage/schedule/parent_output.h"

namespace swage::pipeline {
namespace {

using model::BlockShape, model::InputGroup, model::ModuleInfo, model::Stage;
using modifiers::Cost, modifiers::kKeptBelow, modifiers::LinearShape;

constexpr double kDouble = 8, kCode16 = 2;
constexpr double kScoreRows = 256;  // of attention, at once in a thread
constexpr double kQuantizedAtOnce =
    8;  // sequences whose inputs are looked at, and copied if they are quantized, for a Gram matrix
constexpr double kMomentsAtOnce = 8;    // sequences of a correction's sums
constexpr double kHeldOut = 8;          // one sequence of so many
constexpr int kRidges = 6;              // that a correction tries
constexpr double kForwardPasses = 1.5;  // of copying, over what enters and leaves the linears of a stage
constexpr double kLoadPasses = 3;       // over a block's float32 weights while they are read and converted
constexpr double kFragments = 2.5;      // room that these pieces take, of their sum
constexpr int kAllocatorThreads =
    2;  // one thread leaves as much with the allocator as two do: measured, docs/performance.md

double square(double x) { return x * x; }

class Calibration {
 public:
  explicit Calibration(const PlanInput& input)
      : in_(input),
        tokens_(double(input.rows) * double(input.row_tokens)),
        hidden_(double(input.shape.hidden_size)) {
    out_.stage.name = "calibrate";
    for (const modifiers::Quantizer* quantizer : input.assignment.quantizers)
      corrects_ = corrects_ || quantizer->target() != modifiers::Target::Weights;
    for (const modifiers::Rescaler* rescaler : input.chain.rescalers) {
      rescales_ = true;
      follows_ = follows_ || rescaler->follows_linears();
      rescaler_gram_ = rescaler_gram_ || rescaler->needs_gram();
      rescaler_output_ = std::max(rescaler_output_, double(rescaler->outputs_tried()));
    }
  }

  CalibrationPlan run() {
    for (size_t b = 0; b < in_.shape.blocks.size(); ++b)
      run_block(in_.shape.blocks[b], int64_t(b), b + 1 == in_.shape.blocks.size());
    for (const ModuleInfo& end : in_.shape.ends) solve_end(end);
    return out_;
  }

 private:
  PlanWork& work() { return out_.stage.work; }
  double streams() const { return corrects_ ? 2 : 1; }
  bool is_solved(const ModuleInfo& module) const {
    return in_.assignment.find(module.name) != nullptr || in_.sparsity.find(module.name) != nullptr;
  }

  void run_block(const BlockShape& block, int64_t index, bool last) {
    const BlockShape& whole =
        in_.whole != nullptr ? in_.whole->blocks[size_t(index)] : block;  // what is loaded, and gone when the layer is
    const double parameters = double(whole.parameters());
    weights_ = (kFloat + (in_.on_device ? kCode16 : 0)) * parameters;  // on a GPU also as products are made of them
    float_weights_ = corrects_ ? kFloat * parameters : 0;
    solved_bytes_ = 0;
    for (const ModuleInfo& linear : block.linears) widest_ = std::max(widest_, double(linear.columns));
    kept_ = kept_by_forward_ =
        in_.on_device ? 0 : std::max(in_.threads, kAllocatorThreads) * kFragments * small_temporaries(block);
    routing_ = block.experts > 0 ? tokens_ * (2 * kFloat * hidden_ + 24 * double(block.top_k)) : 0;
    routing_ += kFloat * tokens_ * double(block.kept_width);
    out_.activation_bytes = std::max(out_.activation_bytes, uint64_t(activation_bytes()));
    work().moved_bytes += streams() * kLoadPasses * kFloat * parameters;
    work().read_bytes += uint64_t(streams() * in_.bytes_per_weight * parameters);
    for (size_t s = 0; s < block.stages.size(); ++s) {
      at_ = cat("layer ", index, ", ", block.stages[s].name);
      if (in_.whole != nullptr && block.experts > 0 && block.stages[s].routes) measure_experts(whole);
      run_stage(block, s);
      const bool nothing_reads_it = last && s + 1 == block.stages.size() && !head_is_solved();
      if (!nothing_reads_it) forward(block, s);
    }
    if (in_.keeps_activations && rescales_) work().written_bytes += uint64_t(kFloat * tokens_ * hidden_);
  }

  // A forward pass through all experts for the tokens that are routed to them. Each may get all tokens of a row: its
  // input, what is inside, its output.
  void measure_experts(const BlockShape& whole) {
    double an_expert = 0, inside = 0;
    const auto add = [&](const Stage& stage, bool enters) {
      for (const InputGroup& group : stage.groups) {
        for (const int index : group.expert == 0 ? group.linears : std::vector<int>()) {
          const ModuleInfo& linear = whole.linears[size_t(index)];
          an_expert += double(linear.parameters());
          inside += enters ? double(linear.rows) : 0;
        }
      }
    };
    for (const Stage& stage : whole.stages) {
      if (stage.routes || stage.expert == 0) add(stage, stage.routes);
    }
    work().linear_flops += 2 * tokens_ * double(whole.top_k) * an_expert;
    work().moved_bytes += kForwardPasses * kFloat * tokens_ * double(whole.top_k) * (inside + 2 * hidden_);
    keep_larger(
        out_.stage,
        resident().moves("forward pass", forward_threads() * kFloat * double(in_.row_tokens) * (inside + 2 * hidden_)),
        at_);
  }

  // Of a forward pass in one thread: outputs of the linears and their inputs as integers, of one expert; norms,
  // attention.
  double small_temporaries(const BlockShape& block) const {
    const double length = double(in_.row_tokens);
    double sum = 0;
    const auto add = [&](double bytes) { sum += bytes < kKeptBelow ? bytes : 0; };
    for (const Stage& stage : block.stages) {
      const InputGroup& group = stage.groups.front();
      for (const int index : group.linears) add(kFloat * length * double(block.linears[size_t(index)].rows));
      add(kCode16 * length * double(block.linears[size_t(group.linears.front())].columns));
      if (stage.groups.size() > 1) break;  // experts are alike
    }
    add(kFloat * length * double(block.query_size));
    add(kFloat * length * hidden_);
    add(kFloat * length * kScoreRows);
    return sum;
  }

  double activation_bytes() const {
    return streams() * (tokens_ * (kFloat * hidden_ + input_bytes() * widest_) + routing_);
  }
  // Of a number that a linear reads: bf16 on a GPU.
  double input_bytes() const { return in_.on_device ? kCode16 : kFloat; }
  double activations_in_memory() const {
    return streams() * (share_in_memory(in_) * tokens_ * (kFloat * hidden_ + input_bytes() * widest_) + routing_);
  }

  Moment resident() const {
    Moment now(in_);
    now.host("process", kDouble * tokens_);  // token ids
    now.moves("weights of a layer", weights_).moves("float weights", float_weights_);
    now.moves("activations", activations_in_memory())
        .host("solved weights", solved_bytes_)
        .host("kept by the allocator", kept_);
    return now.moves("Gram matrices", gram_ + scratch_);
  }

  void run_stage(const BlockShape& block, size_t s) {
    gram_ = 0;
    measured_ = 0;
    const Stage& stage = block.stages[s];
    if (rescales_) rescale(block, s);
    for (const InputGroup& group : stage.groups) {
      prune(block, group);
      solve(block, group, stage.into_residual);
    }
  }

  std::vector<LinearShape> shapes_of(const BlockShape& block, const InputGroup& group, bool with_scheme) const {
    std::vector<LinearShape> out;
    for (const int index : group.linears) {
      const ModuleInfo& linear = block.linears[size_t(index)];
      const scheme::Scheme* scheme = in_.assignment.find(linear.name);
      if (with_scheme ? scheme != nullptr : in_.sparsity.find(linear.name) != nullptr)
        out.push_back(shape_of(linear, scheme));
    }
    return out;
  }

  static LinearShape shape_of(const ModuleInfo& linear, const scheme::Scheme* scheme) {
    return {linear.rows, linear.columns, scheme != nullptr && scheme->weights ? &*scheme->weights : nullptr};
  }

  modifiers::CostSetting setting() const { return {true, in_.threads, in_.on_device}; }
  // Threads that take sequences through a block at once.
  double forward_threads() const { return in_.on_device ? 1 : in_.threads; }
  Moment with_solver(const Cost& cost, std::string_view name, double more = 0) {
    std::vector<std::string>& on_host = out_.stage.on_host;
    if (in_.on_device && !cost.on_device && std::find(on_host.begin(), on_host.end(), name) == on_host.end())
      on_host.emplace_back(name);
    const double bytes = double(cost.scratch_bytes) + more;
    return cost.on_device ? resident().moves("solver", bytes) : resident().host("solver", bytes);
  }

  void add(const Cost& cost) {
    work().solve_flops += cost.flops;
    work().moved_bytes += kFloat * cost.passes;
  }

  // One Gram matrix serves all groups of a stage, if every expert sees every token.
  void measure(double columns, int expert, double copies) {
    if (measured_ > 0 && !(in_.moe_routed && expert >= 0)) return;
    ++measured_;
    gram_ = std::max(gram_, kDouble * square(columns));
    work().gram_flops += tokens_ * square(columns);
    scratch_ = std::max(scratch_, gram_scratch_bytes(columns, tokens_, in_.on_device));
    keep_larger(out_.stage, resident().moves("copies of inputs", copies), at_);
  }

  // An upper bound: as if all linears of the stage belonged to one pair.
  void rescale(const BlockShape& block, size_t s) {
    const Stage& stage = block.stages[s];
    InputGroup all;
    for (const InputGroup& group : stage.groups)
      all.linears.insert(all.linears.end(), group.linears.begin(), group.linears.end());
    const std::vector<LinearShape> linears = shapes_of(block, all, true);
    if (linears.empty()) return;
    if (rescaler_gram_) measure(double(linears[0].columns), -1, 0);
    double scratch = 0, small = 0;
    for (const modifiers::Rescaler* rescaler : in_.chain.rescalers) {
      const Cost cost = rescaler->cost(linears, setting());
      add(cost);
      scratch = std::max(scratch, double(cost.scratch_bytes));
      small = std::max(small, double(cost.small_bytes));
    }
    keep_larger(out_.stage, resident().host("solver", scratch), at_);
    kept_ = std::max(kept_, kept_by_forward_ + small);
    keep_larger(out_.stage, resident().moves("Gram matrices", gram_), at_);  // divided by the scales into a second one
    if (linears.size() > 1 && rescaler_output_ > 0) run_parents(block, s, linears);
  }

  // The module above the linears, run for every candidate (pipeline/parent_output): its outputs, the weights tried, and
  // what a row takes in each thread.
  void run_parents(const BlockShape& block, size_t s, const std::vector<LinearShape>& linears) {
    const modifiers::GroupSize size = modifiers::size_of(linears);
    const double length = double(in_.row_tokens),
                 rows = std::min(double(in_.rows), std::max(1.0, double(ParentOutput::kTokens) / length));
    double widest = 0, parameters = 0;
    for (size_t i = s; i < block.stages.size() && (i == s || !block.stages[i - 1].adds); ++i) {
      for (const InputGroup& group : block.stages[i].groups) {
        double outputs = 0;
        for (const int index : group.linears) {
          const ModuleInfo& linear = block.linears[size_t(index)];
          outputs += double(linear.rows) + double(linear.columns);
          parameters += double(linear.parameters());
        }
        widest = std::max(widest, outputs);
      }
    }
    work().solve_flops += (rescaler_output_ + 1) * 2 * rows * length * parameters;
    const double a_row = kFloat * length * (2 * hidden_ + 2 * widest);
    keep_larger(out_.stage,
                resident()
                    .moves("outputs of modules", kFloat * rows * length * hidden_)
                    .moves("forward pass", in_.threads * a_row)
                    .host("solver", kFloat * 2 * size.all + in_.threads * 3 * kFloat * size.largest),
                at_);
  }

  void prune(const BlockShape& block, const InputGroup& group) {
    const std::vector<LinearShape> linears = shapes_of(block, group, false);
    if (linears.empty()) return;
    const modifiers::Sparsifier& by = *in_.sparsity.find(first_pruned(block, group))->by;
    if (by.needs_calibration()) measure(double(linears[0].columns), group.expert, 0);
    const Cost cost = by.cost(linears, setting());
    add(cost);
    keep_larger(out_.stage, with_solver(cost, by.name()), at_);
  }

  std::string first_pruned(const BlockShape& block, const InputGroup& group) const {
    for (const int index : group.linears) {
      if (in_.sparsity.find(block.linears[size_t(index)].name) != nullptr) return block.linears[size_t(index)].name;
    }
    return {};
  }

  void solve(const BlockShape& block, const InputGroup& group, bool into_residual) {
    const ModuleInfo* first = nullptr;
    bool pruned = false;
    for (const int index : group.linears) {
      const ModuleInfo& linear = block.linears[size_t(index)];
      if (first == nullptr && in_.assignment.find(linear.name) != nullptr) first = &linear;
      pruned = pruned || in_.sparsity.find(linear.name) != nullptr;
    }
    if (first == nullptr) return;
    const std::vector<LinearShape> linears = shapes_of(block, group, true);
    const modifiers::Quantizer& by = in_.assignment.quantizer_of(first->name);
    const bool quantized_input =
        in_.assignment.find(first->name)->input_activations.has_value() || in_.rotated_inputs.contains(first->name);
    const double columns = double(first->columns), row_bytes = double(in_.row_tokens) * columns * kFloat;
    const double copies =
        quantized_input ? (std::min(kQuantizedAtOnce, double(in_.rows)) + 2 * in_.threads) * row_bytes : 0;
    double corrected = 0;
    if (by.needs_calibration() && by.target() != modifiers::Target::Weights && !pruned &&
        !(in_.moe_routed && group.expert >= 0)) {
      corrected = correct(linears, into_residual && by.target() == modifiers::Target::Residual, quantized_input);
    } else if (by.needs_calibration()) {
      measure(columns, group.expert, copies);
    }
    const Cost cost = by.cost(linears, setting());
    add(cost);
    keep_larger(out_.stage, with_solver(cost, by.name(), corrected), at_);
    put_into(block, group);
  }

  // What a weight is kept as for the rest of the run: integer codes where the processor multiplies these.
  bool kept_as_integers(const ModuleInfo& linear) const {
    const scheme::Scheme* scheme = in_.assignment.find(linear.name);
    return !in_.on_device && scheme != nullptr && scheme->weights && scheme->weights->type == scheme::NumberType::Int;
  }

  void put_into(const BlockShape& block, const InputGroup& group) {
    for (const int index : group.linears) {
      const ModuleInfo& linear = block.linears[size_t(index)];
      if (in_.assignment.find(linear.name) == nullptr) continue;
      if (kept_as_integers(linear)) weights_ -= (kFloat - kCode16) * double(linear.parameters());
      if (follows_)
        solved_bytes_ += 1.1 * double(linear.parameters());  // written at the end of the layer; a tenth for scales
    }
  }

  // Sums over both streams, and the solutions for each ridge (solvers/target). Returns the bytes of the corrected
  // weights.
  double correct(const std::vector<LinearShape>& linears, bool residual, bool quantized_input) {
    const modifiers::GroupSize size = modifiers::size_of(linears);
    const double n = size.columns, sums = 2 * (2 * kDouble * square(n) + (residual ? kDouble * hidden_ * n : 0));
    const double at_once = std::min(kMomentsAtOnce, double(in_.rows)) * double(in_.row_tokens);
    const double copies = kFloat * at_once * ((quantized_input ? 4 : 3) * n + (residual ? 2 * hidden_ : 0));
    gram_ = 0;
    keep_larger(out_.stage,
                resident()
                    .moves("Gram matrices", sums + gram_scratch_bytes(n, at_once, false))
                    .moves("copies of inputs", copies),
                at_);
    const double solving = 3 * kDouble * size.all + 3 * kDouble * size.largest + 3 * kDouble * square(n);
    keep_larger(out_.stage, resident().host("Gram matrices", sums).host("solver", solving), at_);
    work().gram_flops += tokens_ * (square(n) + 2 * n * (n + (residual ? hidden_ : 0)));
    work().solve_flops += 2 * (kRidges + 1) * (n * square(n) / 3 + 4 * size.all * n) + 2 * 8 * size.all * n;  // in f64
    gram_ = kDouble * square(n);
    return kFloat * size.all;
  }

  void forward(const BlockShape& block, size_t s) {
    const Stage& stage = block.stages[s];
    double largest = 0;
    for (const InputGroup& group : stage.groups) {
      double rows = 0, columns = 0, turned = 0;
      for (const int index : group.linears) {
        const ModuleInfo& linear = block.linears[size_t(index)];
        rows += double(linear.rows) * (in_.rotated_outputs.contains(linear.name) ? 2 : 1);
        if (in_.rotated_inputs.contains(linear.name)) turned = kFloat * double(linear.columns);
        columns = double(linear.columns);
        const bool routed = stage.expert >= 0;
        const double tokens = routed ? tokens_ * double(block.top_k) / double(block.experts) : tokens_;
        (kept_as_integers(linear) ? work().integer_flops : work().linear_flops) +=
            2 * tokens * double(linear.parameters());
        if (corrects_) work().linear_flops += 2 * tokens * double(linear.parameters());
      }
      work().moved_bytes += streams() * kForwardPasses * kFloat * tokens_ * (rows + columns);
      largest = std::max(largest, kFloat * rows + kCode16 * columns + turned);
    }
    double a_thread = double(in_.row_tokens) * largest;
    if (stage.attends) a_thread += attention(block);
    const bool routes_next = s + 1 < block.stages.size() && block.stages[s + 1].routes;
    for (const ModuleInfo& router : block.routers) {
      if (routes_next) work().linear_flops += 2 * streams() * tokens_ * double(router.parameters());
    }
    keep_larger(out_.stage, resident().moves("forward pass", forward_threads() * a_thread), at_);
  }

  // Bytes of a thread; adds the work.
  double attention(const BlockShape& block) {
    const double length = double(in_.row_tokens),
                 keys = block.window > 0 ? std::min(length, double(block.window)) : length;
    work().attention_flops += streams() * 4 * tokens_ * (keys / 2 + kScoreRows / 4) * double(block.query_size);
    return kFloat * (length * double(block.query_size) + kScoreRows * length);
  }

  bool head_is_solved() const {
    return std::any_of(in_.shape.ends.begin(), in_.shape.ends.end(),
                       [&](const ModuleInfo& end) { return end.class_name == "Linear" && is_solved(end); });
  }

  // The head on what it reads, or an embedding by itself; the ends are loaded to compute the head's input.
  void solve_end(const ModuleInfo& end) {
    if (!is_solved(end)) return;
    at_ = end.name;
    gram_ = 0;
    measured_ = 0;
    solved_bytes_ = float_weights_ = 0;
    weights_ = bytes_of_ends(in_.shape);
    keep_larger(out_.stage, resident(), at_);
    weights_ = kFloat * double(end.parameters());
    const scheme::Scheme* scheme = in_.assignment.find(end.name);
    const modifiers::Modifier& by = scheme != nullptr
                                        ? static_cast<const modifiers::Modifier&>(in_.assignment.quantizer_of(end.name))
                                        : *in_.sparsity.find(end.name)->by;
    const bool looks = by.needs_calibration() && end.class_name == "Linear";
    if (looks) measure(double(end.columns), -1, 0);
    const std::vector<LinearShape> linears = {shape_of(end, scheme)};
    const Cost cost = by.cost(linears, {looks, in_.threads, in_.on_device});
    add(cost);
    keep_larger(out_.stage, with_solver(cost, by.name()), at_);
  }

  const PlanInput& in_;
  const double tokens_, hidden_;
  bool corrects_ = false, rescales_ = false, follows_ = false, rescaler_gram_ = false;
  double rescaler_output_ = 0;  // how often modules are run to judge scales
  CalibrationPlan out_;
  std::string at_;
  // Bytes that are there now.
  double weights_ = 0, float_weights_ = 0, routing_ = 0, solved_bytes_ = 0, gram_ = 0, scratch_ = 0;
  double kept_ = 0, kept_by_forward_ = 0;  // by the allocator
  double widest_ = 0;                      // columns of an input, of all blocks so far
  int measured_ = 0;                       // Gram matrices of the current stage
};

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
  return std::min(1.0, (double(input.rows_in_memory) + kQuantizedAtOnce + 2 * input.threads) / double(input.rows));
}

double gram_scratch_bytes(double columns, double tokens, bool on_device) {
  if (on_device)
    return kCode16 * std::min(16384.0, tokens) * columns +
           kFloat * square(columns) / 4;  // inputs side by side, and a panel of their sums
  constexpr double kPackedFloats = 2 << 20;
  return kFloat * std::min(std::max(kPackedFloats, square(columns)), tokens * columns);
}

CalibrationPlan plan_calibration(const PlanInput& input) { return Calibration(input).run(); }

}  // namespace swage::pipeline
