#include "swage/model/program_block.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "swage/base/error.h"
#include "swage/model/activation_quantization.h"
#include "swage/model/kv_cache.h"
#include "swage/model/mlp.h"
#include "swage/model/sparse_attention.h"
#include "swage/ops/attention.h"

namespace swage::model {

using namespace graph;
// Takes one flow through operations. A value is let go of by the operation that reads it last, and changed in place if
// it was made on the way.
class ProgramBlock::Pass {
 public:
  Pass(const ProgramBlock& block, Flow& flow) : block_(block), program_(block.program_), flow_(flow) {
    flow.values.resize(program_.values.size());
  }

  void run(size_t index) {
    index_ = index;
    const Operation& operation = block_.schedule_.operations[index];
    const Node& node = program_.nodes[operation.node];
    if (!std::holds_alternative<LinearNode>(node)) shared_ = {}, ahead_.clear();
    switch (operation.kind) {
      case Operation::Kind::Run:
        return std::visit([this](const auto& one) { run(one); }, node);
      case Operation::Kind::RunInto:
        return run_into(std::get<LinearNode>(node));
      case Operation::Kind::Route:
        return route_input(std::get<ExpertsNode>(node));
      case Operation::Kind::EnterExpert:
        return block_.enter_expert(std::get<ExpertsNode>(node), operation.expert, flow_);
      case Operation::Kind::LeaveExpert:
        return leave_expert(std::get<ExpertsNode>(node), operation.expert);
      case Operation::Kind::Finish:
        return finish(std::get<ExpertsNode>(node));
    }
  }

  int64_t source_rows() const { return flow_.source_rows > 0 ? flow_.source_rows : flow_.hidden_TD.size(0) / 2; }

  // The stream's rows that the block has.
  at::Tensor stream() const {
    if (program_.rows == Rows::All) return flow_.hidden_TD;
    const int64_t source = source_rows(), all = flow_.hidden_TD.size(0);
    return program_.rows == Rows::Source ? flow_.hidden_TD.narrow(0, 0, source)
                                         : flow_.hidden_TD.narrow(0, source, all - source);
  }

 private:
  bool is_last(Value value) const { return value != kStream && block_.schedule_.last_use[size_t(value)] == index_; }

  // The value, which the operation reads.
  at::Tensor read(Value value) {
    if (value == kStream) return stream();
    at::Tensor& kept = flow_.values[size_t(value)];
    return is_last(value) ? std::move(kept) : kept;
  }

  // The same as the operation may change it.
  at::Tensor take(Value value) {
    const bool own = is_last(value) && made_here_.contains(value);
    const at::Tensor x = read(value);
    return own ? x : x.clone();
  }

  void make(Value value, at::Tensor x) {
    if (value == kStream && program_.rows == Rows::All)
      flow_.hidden_TD = std::move(x);
    else if (value == kStream)
      stream().copy_(x);
    else
      flow_.values[size_t(value)] = std::move(x);
    made_here_.insert(value);
  }

  static at::Tensor heads_of(const at::Tensor& x, int64_t size) { return x.view({x.size(0), -1, size}); }

  void run(const NormNode& node) {
    const Norm& norm = block_.norms_[node_index()];
    if (node.norm.size == program_.values[size_t(node.in)].width) return make(node.out, norm(read(node.in)));
    const at::Tensor x = take(node.in);
    at::Tensor heads = heads_of(x, node.norm.size);
    norm.apply_(heads);
    make(node.out, x);
  }

  const Linear& linear(const LinearNode& node) const { return block_.linears[size_t(node.linear)]; }

  void run(const LinearNode& node) {
    if (shared_of_ != node.in) shared_ = {}, ahead_.clear();
    shared_of_ = node.in;
    const at::Tensor x = read(node.in);
    if (const auto found = ahead_.find(node.linear); found != ahead_.end()) return make(node.out, found->second);
    const std::vector<const Linear*> together = neighbours_of(node);
    std::vector<at::Tensor> outs = outputs_of(together, x, shared_);
    for (size_t i = 1; i < outs.size(); ++i) ahead_[int(together[i] - block_.linears.data())] = std::move(outs[i]);
    make(node.out, std::move(outs[0]));
  }

  // The node's linear, and those of the operations behind it that read the same packed alike.
  std::vector<const Linear*> neighbours_of(const LinearNode& node) const {
    std::vector<const Linear*> out = {&linear(node)};
    if (!out[0]->packed) return out;
    for (size_t next = index_ + 1; next < block_.schedule_.operations.size(); ++next) {
      const Operation& operation = block_.schedule_.operations[next];
      const auto* other = std::get_if<LinearNode>(&program_.nodes[operation.node]);
      if (operation.kind != Operation::Kind::Run || other == nullptr || other->in != node.in || !linear(*other).packed)
        break;
      out.push_back(&linear(*other));
    }
    return out;
  }

  void run_into(const LinearNode& node) {
    shared_ = {};
    if (program_.rows == Rows::All) return linear(node).add_to(flow_.hidden_TD, read(node.in));
    at::Tensor rows = stream();
    linear(node).add_to(rows, read(node.in));
  }

  void run(const SplitNode& node) {
    const at::Tensor x = read(node.in), runs = x.view({x.size(0), node.groups, -1});
    int64_t first = 0;
    for (size_t i = 0; i < node.out.size(); ++i) {
      make(node.out[i], runs.narrow(2, first, node.sizes[i]).contiguous().view({x.size(0), -1}));
      first += node.sizes[i];
    }
  }

  void run(const JoinNode& node) {
    int64_t all = 0;
    for (const Value value : node.in) all += program_.values[size_t(value)].width;
    const bool shares_last = all != program_.values[size_t(node.out)].width;
    std::vector<at::Tensor> parts;
    for (const Value value : node.in) {
      const at::Tensor x = read(value);
      const bool one = shares_last && value == node.in.back();
      parts.push_back(one ? x.view({x.size(0), 1, -1}).expand({x.size(0), node.heads, x.size(1)})
                          : x.view({x.size(0), node.heads, -1}));
    }
    make(node.out, at::cat(parts, 2).view({parts[0].size(0), -1}));
  }

  void run(const RopeNode& node) {
    const at::Tensor x = take(node.in);
    at::Tensor heads = x.view({x.size(0), node.heads, -1});
    const Rope& rope = *block_.ropes_[size_t(node.table)];
    if (flow_.batch == nullptr) rope.rotate_(heads, flow_.position, node.first);
    each_sequence([&](const SequenceRows& rows) {
      at::Tensor part = heads.narrow(0, rows.first, rows.rows);
      rope.rotate_known_(part, rows.position, rows.known, node.first);
    });
    make(node.out, x);
  }

  void run(const AttentionNode& node) {
    const Heads& heads = block_.heads_.at(node_index());
    const at::Tensor query_THE = heads_of(read(node.query), node.head_size),
                     key_TGE = heads_of(read(node.key), node.head_size);
    at::Tensor q_THE = transformed_heads(query_THE, heads.query_transform);
    at::Tensor k_TGE = transformed_heads(key_TGE, heads.key_transform);
    at::Tensor v_TGE = heads_of(read(node.value), node.value_size);
    if (flow_.attention_states != nullptr)
      *flow_.attention_states = {q_THE.transpose(0, 1), k_TGE.transpose(0, 1), v_TGE.transpose(0, 1)};
    q_THE = quantized_heads(q_THE, heads.query);
    k_TGE = quantized_heads(k_TGE, heads.key);
    v_TGE = quantized_heads(v_TGE, heads.value);
    const at::Tensor bias_HTS = bias_of_distances(node, heads, block_.linears, query_THE, key_TGE);
    if (flow_.batch != nullptr) return make(node.out, attend_in_blocks(node, q_THE, k_TGE, v_TGE));
    make(node.out, mixed(node, q_THE, k_TGE.transpose(0, 1), v_TGE.transpose(0, 1), bias_HTS));
  }

  // Each sequence of the batch by itself.
  template <class Function>
  void each_sequence(const Function& of) const {
    if (flow_.batch == nullptr) return;
    for (const SequenceRows& rows : flow_.batch->sequences) of(rows);
  }
  const LayerCache& caches() const { return flow_.batch->layout->layers[size_t(flow_.layer)]; }

  // The batch's sequences over what their caches hold, with these keys and values.
  at::Tensor attend_in_blocks(const AttentionNode& node, const at::Tensor& q_THE, const at::Tensor& k_TGE,
                              const at::Tensor& v_TGV) {
    SWAGE_CHECK(node.causal && !node.relative && !node.disentangled, Internal, node.name, ": has no cache");
    const Heads& heads = block_.heads_.at(node_index());
    const ops::PagedLayer& pages = caches().pages(node_index());
    at::Tensor key_TE, query_TIE, weights_TI;
    if (node.index_count > 0) {
      key_TE = read(node.index_key), weights_TI = read(node.index_weights);
      query_TIE = heads_of(read(node.index_query), pages.index_size);
    }
    const ops::KeptScales scales{kept_scales(heads.key, pages.format, pages.groups),
                                 kept_scales(heads.value, pages.format, pages.groups)};
    std::vector<ops::PagedQueries> sequences;
    each_sequence([&](const SequenceRows& rows) {
      // blocks lie in the host's memory
      const auto own = [&](const at::Tensor& x) { return x.defined() ? x.narrow(0, rows.first, rows.rows).cpu() : x; };
      ops::PagedQueries& queries =
          sequences.emplace_back(ops::PagedQueries{rows.cache->blocks, rows.first, rows.rows, rows.position});
      ops::store_tokens(pages, queries.blocks, rows.position, own(k_TGE), own(v_TGV), own(key_TE), scales);
      if (node.index_count > 0)
        queries.chosen = ops::chosen_keys(pages, queries, own(query_TIE), own(weights_TI), node.index_count);
    });
    const at::Tensor sinks_H = heads.sinks_H.defined() ? heads.sinks_H.cpu() : heads.sinks_H;
    return ops::attend_paged(pages, sequences, q_THE.cpu(),
                             {node.scale, node.window, node.chunk, node.softcap, heads.slopes_H, sinks_H})
        .to(q_THE.device());
  }

  at::Tensor mixed(const AttentionNode& node, const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSV,
                   const at::Tensor& bias_HTS) {
    const Heads& heads = block_.heads_.at(node_index());
    if (node.index_count == 0) return attend(node, heads, q_THE, k_GSE, v_GSV, bias_HTS);
    const at::Tensor seen = read(node.index_key), query = read(node.index_query), weights = read(node.index_weights);
    if (seen.size(0) <= node.index_count) return attend(node, heads, q_THE, k_GSE, v_GSV, bias_HTS);
    const at::Tensor chosen =
        chosen_keys(query.view({query.size(0), node.index_heads, -1}), seen, weights, node.index_count);
    return attend_chosen(q_THE, k_GSE, v_GSV, chosen, {node.scale});
  }

  size_t node_index() const { return block_.schedule_.operations[index_].node; }

  // of(rows of x.., state) for each sequence, with the state that its tokens so far left behind, which it changes; an
  // undefined one stands before the first.
  template <class Function>
  at::Tensor with_states(int64_t tokens, const Function& of) {
    at::Tensor fresh;
    if (flow_.batch == nullptr) return of(0, tokens, fresh);
    const CachedState& place = caches().state(node_index());
    std::vector<at::Tensor> out;
    each_sequence([&](const SequenceRows& rows) {
      at::Tensor state = rows.position == 0 ? at::Tensor() : rows.cache->read(place).to(flow_.hidden_TD.device());
      out.push_back(of(rows.first, rows.rows, state));
      rows.cache->write(place, state);
    });
    return at::cat(out);
  }

  void run(const ConvolutionNode& node) {
    const at::Tensor x_TC = read(node.in);
    make(node.out, with_states(x_TC.size(0), [&](int64_t first, int64_t rows, at::Tensor& past) {
           return convolve(block_.convolutions_.at(node_index()), node, x_TC.narrow(0, first, rows), past);
         }));
  }

  void run(const NeighbourNode& node) {
    make(node.out, convolve(block_.neighbours_.at(node_index()), node, read(node.in)));
  }

  void run(const RecurrenceNode& node) {
    const auto optional = [this](Value value) { return value < 0 ? at::Tensor() : read(value); };
    const RecurrenceInput input{read(node.query), read(node.key), read(node.value), optional(node.gate),
                                optional(node.beta)};
    make(node.out, with_states(input.value.size(0), [&](int64_t first, int64_t rows, at::Tensor& state) {
           const auto own = [&](const at::Tensor& x) { return x.defined() ? x.narrow(0, first, rows) : x; };
           const RecurrenceInput part{own(input.query), own(input.key), own(input.value), own(input.gate),
                                      own(input.beta)};
           return recur(block_.recurrences_.at(node_index()), node, part, state);
         }));
  }

  void run(const ActivateNode& node) {
    at::Tensor x = take(node.in);
    if (node.activation == Activation::Xielu)
      xielu_(x, block_.xielu_forms_[node_index()]);
    else
      activate_(x, node.activation);
    make(node.out, std::move(x));
  }

  void run(const GateNode& node) {
    at::Tensor x = take(node.gate);
    if (x.size(1) == 1 && program_.values[size_t(node.up)].width > 1) {
      activate_(x, node.gating.activation);
      return make(node.out, take(node.up).mul_(x));
    }
    activate_gated_(x, read(node.up), node.gating);
    make(node.out, std::move(x));
  }

  void run(const ScaleNode& node) { make(node.out, take(node.in).mul_(node.factor)); }
  void run(const PositionScaleNode& node) {
    const at::Tensor x = take(node.in);
    const at::Tensor factors_T = at::empty({x.size(0)}, at::kFloat);
    const auto fill = [&](int64_t first, int64_t rows, int64_t position) {
      for (int64_t t = 0; t < rows; ++t) {
        const double periods = std::floor((double(position + t) + node.offset) / node.period);
        factors_T.mutable_data_ptr<float>()[first + t] = float(1 + node.scale * std::log1p(periods));
      }
    };
    if (flow_.batch == nullptr) fill(0, x.size(0), flow_.position);
    each_sequence([&](const SequenceRows& rows) { fill(rows.first, rows.rows, rows.position); });
    make(node.out, x.mul(factors_T.to(x.device()).unsqueeze(1)));
  }
  void run(const ClampNode& node) { make(node.out, take(node.in).clamp_(-node.limit, node.limit)); }
  void run(const CutNode& node) {
    const at::Tensor x = take(node.in);
    const at::Tensor mean = x.mean(1, true), deviation = x.std(at::IntArrayRef{1}, false, true);
    make(node.out, x.sub_(mean.add_(deviation, node.deviations)).relu_());
  }
  void run(const MatchNode& node) {
    const auto size_of = [](const at::Tensor& x) { return x.square().mean(1, true).sqrt_(); };
    const at::Tensor wanted = size_of(read(node.like)), x = take(node.in);
    make(node.out, x.mul_(wanted.div_(size_of(x).clamp_min_(node.least))));
  }
  void run(const SumNode& node) {
    at::Tensor x = take(node.in[0]);
    for (size_t i = 1; i < node.in.size(); ++i) x.add_(read(node.in[i]));
    make(node.out, std::move(x));
  }
  void run(const AddNode& node) {
    const at::Tensor x = read(node.in);
    stream().narrow(1, 0, x.size(1)).add_(x);
  }
  void run(const SliceNode& node) {
    const at::Tensor x = read(node.in);
    make(node.out, x.narrow(1, node.first, program_.values[size_t(node.out)].width).contiguous());
  }
  void run(const WriteNode& node) {
    const at::Tensor x = read(node.in);
    stream().narrow(1, node.first, x.size(1)).copy_(x);
  }
  void run(const SourceNode& node) { make(node.out, flow_.hidden_TD.narrow(0, 0, source_rows())); }
  void run(const MultiplyNode& node) { make(node.out, take(node.in).mul_(block_.factors_.at(node_index()))); }
  void run(const ExpertsNode& node) {
    throw Error(ErrorKind::Internal, node.router.name + ": a mixture is run expert by expert");
  }

  void route_input(const ExpertsNode& node) {
    flow_.router_input_TD = node.router_in == node.in ? at::Tensor() : read(node.router_in);
    flow_.mlp_input_TD = read(node.in);
    if (is_last(node.in)) flow_.values[size_t(node.in)] = flow_.mlp_input_TD;  // it becomes the stage's input
    flow_.input_expert = -1;
    route(flow_, block_.router_);
  }

  void leave_expert(const ExpertsNode& node, int expert) {
    accumulate_expert(flow_, block_.linears[size_t(node.experts[size_t(expert)].down)], expert, !node.weighs_input);
  }

  void finish(const ExpertsNode& node) {
    make(node.out, flow_.accumulated_TD);
    end_routing(flow_);
  }

  const ProgramBlock& block_;
  const BlockProgram& program_;
  Flow& flow_;
  size_t index_ = 0;
  SharedInput shared_;
  Value shared_of_ = -1;
  std::map<int, at::Tensor> ahead_;  // what linears behind the current one made of the shared input, by linear
  std::set<Value> made_here_;
};

void ProgramBlock::reschedule() {
  schedule_ = schedule_of(program_);
  stages = schedule_.stages;
  const ExpertsNode* experts = program_.experts();
  router_.rules = experts;
}

void ProgramBlock::run(size_t first, size_t end, size_t next, Flow& flow) const {
  Pass pass(*this, flow);
  for (size_t i = first; i < end; ++i) pass.run(i);
  if (next >= stages.size()) {
    flow.input_TI = at::Tensor();
    return;
  }
  const Value input = stages[next].input;
  flow.input_value = input;
  if (input < 0) return;  // an expert's, which is there
  if (input == kStream) {
    flow.input_TI = pass.stream();
    return;
  }
  at::Tensor& made = flow.values[size_t(input)];
  flow.input_TI = schedule_.last_stage[size_t(input)] > int(next) ? made : std::move(made);
}

void ProgramBlock::begin(Flow& flow) const {
  flow.values.assign(program_.values.size(), {});
  run(0, stages.empty() ? schedule_.operations.size() : schedule_.first[0], 0, flow);  // of copies alone: no stage
}

void ProgramBlock::step(int s, Flow& flow) const {
  SWAGE_CHECK(s >= 0 && s < static_cast<int>(stages.size()), Internal, "a block of ", stages.size(),
              " stages was asked for stage ", s);
  const Value input = stages[size_t(s)].input;
  if (input > kStream) {
    flow.values.resize(program_.values.size());
    at::Tensor& value = flow.values[size_t(input)];
    if (!value.defined()) value = std::move(flow.input_TI);
    flow.input_TI = at::Tensor();
  }
  run(schedule_.first[size_t(s)], schedule_.end_of(size_t(s)), size_t(s) + 1, flow);
}

at::Tensor ProgramBlock::inner(const ExpertsNode& node, int expert, const at::Tensor& x) const {
  const Expert& one = node.experts[size_t(expert)];
  if (one.gate < 0) {
    at::Tensor out = linears[size_t(one.up)](x);
    activate_(out, node.gating.activation);
    return out;
  }
  SharedInput input;
  const std::vector<at::Tensor> both = outputs_of({&linears[size_t(one.gate)], &linears[size_t(one.up)]}, x, input);
  at::Tensor out = both[0];
  activate_gated_(out, both[1], node.gating);
  return out;
}

void ProgramBlock::enter_expert(const ExpertsNode& node, int expert, Flow& flow) const {
  const at::Tensor rows = flow.routed_rows_of(expert);
  if (flow.all_tokens_to_experts) {
    flow.input_TI = inner(node, expert,
                          node.weighs_input ? flow.mlp_input_TD.index_copy(0, rows, weighed_input(flow, expert, rows))
                                            : flow.mlp_input_TD);
    return;
  }
  flow.input_expert = expert;
  if (rows.size(0) == 0) {
    flow.input_TI = flow.mlp_input_TD.new_empty({0, linears[size_t(node.experts[size_t(expert)].down)].columns});
    return;
  }
  flow.input_TI = inner(
      node, expert, node.weighs_input ? weighed_input(flow, expert, rows) : flow.mlp_input_TD.index_select(0, rows));
}

const ExpertsNode& ProgramBlock::mixture() const {
  const ExpertsNode* experts = program_.experts();
  SWAGE_CHECK(experts != nullptr, Internal, linears.empty() ? std::string("a block") : linears[0].name,
              ": its block has no experts");
  return *experts;
}

at::Tensor ProgramBlock::expert_output(int expert, const at::Tensor& x_TD) const {
  const ExpertsNode& node = mixture();
  SWAGE_CHECK(expert >= 0 && expert < static_cast<int>(node.experts.size()), Internal, "expert ", expert, " of ",
              node.experts.size());
  return linears[size_t(node.experts[size_t(expert)].down)](inner(node, expert, x_TD));
}

void ProgramBlock::keep_experts(const std::vector<int64_t>& kept) {
  const int64_t experts = static_cast<int64_t>(mixture().experts.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    SWAGE_CHECK(kept[i] >= 0 && kept[i] < experts && (i == 0 || kept[i - 1] < kept[i]), Internal, "expert ", kept[i],
                " is to be kept of ", experts);
  }
  std::vector<size_t> source(linears.size());  // of each linear's weights
  std::iota(source.begin(), source.end(), size_t{0});
  for (size_t e = 0; e < kept.size(); ++e) {
    const Expert &to = mixture().experts[e], &from = mixture().experts[size_t(kept[e])];
    if (to.gate >= 0) source[size_t(to.gate)] = size_t(from.gate);
    source[size_t(to.up)] = size_t(from.up);
    source[size_t(to.down)] = size_t(from.down);
  }
  std::vector<Linear> left;
  for (size_t i = 0; i < linears.size(); ++i) {
    if (program_.linears[i].expert >= int(kept.size())) continue;
    left.push_back(std::move(linears[source[i]]));  // experts move down only, so that it is still there
    left.back().name = program_.linears[i].name;
  }
  linears = std::move(left);
  graph::keep_experts(program_, int64_t(kept.size()));
  const at::Tensor rows = at::tensor(kept, at::kLong).to(router_.weight_ED.device());
  for (at::Tensor* tensor : {&router_.weight_ED, &router_.bias_E, &router_.choice_E, &router_.scale_E}) {
    if (tensor->defined()) *tensor = tensor->index_select(0, rows);
  }
  reschedule();
}

void ProgramBlock::route_again(Flow& flow) const {
  SWAGE_CHECK(flow.mlp_input_TD.defined(), Internal, "a flow that is not at the MLP's input was to be routed");
  mixture();
  route(flow, router_);
}

}  // namespace swage::model
