#include "swage/graph/builder.h"

#include <numeric>

#include "swage/base/error.h"

namespace swage::graph {

BlockBuilder::BlockBuilder(std::string prefix, int64_t hidden) : prefix_(std::move(prefix)) { value("stream", hidden); }

Value BlockBuilder::value(std::string name, int64_t width) {
  block_.values.push_back({std::move(name), width});
  return Value(block_.values.size()) - 1;
}

int BlockBuilder::add_linear(LinearSpec linear) {
  block_.linears.push_back(std::move(linear));
  return int(block_.linears.size()) - 1;
}

Value BlockBuilder::norm(Value x, NormSpec norm) {
  const Value out = value(norm.name, width(x));
  norm.name = prefix_ + norm.name;
  block_.nodes.push_back(NormNode{x, out, std::move(norm)});
  return out;
}

void BlockBuilder::norm_stream(NormSpec norm, Value x) {
  norm.name = prefix_ + norm.name;
  block_.nodes.push_back(NormNode{x, kStream, std::move(norm)});
}

Value BlockBuilder::linear(Value x, Role role, const std::string& name, int64_t rows, bool bias) {
  return linear(x, {name, role, rows, 0, bias});
}

Value BlockBuilder::linear(Value x, LinearSpec linear) {
  const Value out = value(linear.name, linear.rows);
  linear.name = prefix_ + linear.name;
  linear.columns = width(x);
  block_.nodes.push_back(LinearNode{x, out, add_linear(std::move(linear))});
  return out;
}

std::vector<Value> BlockBuilder::split(Value x, std::vector<int64_t> sizes, int64_t groups) {
  SWAGE_CHECK(groups * std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) == width(x), Internal, prefix_, ": ",
              width(x), " numbers are split otherwise");
  std::vector<Value> out;
  for (size_t i = 0; i < sizes.size(); ++i)
    out.push_back(value(cat(block_.values[size_t(x)].name, "[", i, "]"), groups * sizes[i]));
  block_.nodes.push_back(SplitNode{x, out, groups, std::move(sizes)});
  return out;
}

Value BlockBuilder::join(std::vector<Value> parts, int64_t heads, bool shares_last) {
  int64_t all = 0;
  for (const Value part : parts) all += width(part) * (shares_last && part == parts.back() ? heads : 1);
  const Value out = value("joined", all);
  block_.nodes.push_back(JoinNode{std::move(parts), out, heads});
  return out;
}

Value BlockBuilder::rope(Value x, int64_t heads, int table, int64_t first) {
  const Value out = value("turned", width(x));
  block_.nodes.push_back(RopeNode{x, out, heads, first, table});
  return out;
}

Value BlockBuilder::attention(Value query, Value key, Value value, const std::string& name, AttentionNode form) {
  form.query = query;
  form.key = key;
  form.value = value;
  form.name = prefix_ + name;
  if (!form.sinks.empty()) form.sinks = prefix_ + form.sinks;
  if (auto& bias = form.disentangled) {
    for (auto* linear : {&bias->own_query, &bias->own_key}) {
      if (*linear) (*linear)->name = prefix_ + (*linear)->name;
    }
  }
  form.out = this->value("attention", form.heads * form.value_size);
  block_.nodes.push_back(std::move(form));
  return Value(block_.values.size()) - 1;
}

Value BlockBuilder::convolution(Value x, std::vector<ConvolutionNode::Part> parts, int64_t kernel, bool bias,
                                Activation activation) {
  const Value out = value("convolved", width(x));
  int64_t channels = 0;
  for (ConvolutionNode::Part& part : parts) part.name = prefix_ + part.name, channels += part.channels;
  SWAGE_CHECK(channels == width(x), Internal, prefix_, ": a convolution of ", channels, " channels reads ", width(x));
  block_.nodes.push_back(ConvolutionNode{x, out, std::move(parts), kernel, bias, activation});
  return out;
}

Value BlockBuilder::neighbours(Value x, const std::string& name, int64_t kernel, Activation activation) {
  const Value out = value("convolved", width(x));
  block_.nodes.push_back(NeighbourNode{x, out, prefix_ + name, kernel, activation});
  return out;
}

Value BlockBuilder::recurrence(RecurrenceNode form) {
  for (std::string* name : {&form.rates, &form.gate_bias, &form.skip}) {
    if (!name->empty()) *name = prefix_ + *name;
  }
  form.out = value("recurrence", form.heads * form.value_size);
  block_.nodes.push_back(std::move(form));
  return Value(block_.values.size()) - 1;
}

Value BlockBuilder::activate(Value x, Activation activation) {
  const Value out = value("activated", width(x));
  block_.nodes.push_back(ActivateNode{x, out, activation});
  return out;
}

Value BlockBuilder::activate(Value x, Activation activation, const std::string& parameters) {
  const Value out = activate(x, activation);
  std::get<ActivateNode>(block_.nodes.back()).parameters = prefix_ + parameters;
  return out;
}

Value BlockBuilder::gate(Value gate, Value up, Gating gating) {
  const Value out = value("gated", width(up));
  block_.nodes.push_back(GateNode{gate, up, out, gating});
  return out;
}

Value BlockBuilder::position_scale(Value x, double scale, double offset, double period) {
  const Value out = value("scaled", width(x));
  block_.nodes.push_back(PositionScaleNode{x, out, scale, offset, period});
  return out;
}

Value BlockBuilder::slice(Value x, int64_t first, int64_t count) {
  SWAGE_CHECK(first >= 0 && first + count <= width(x), Internal, prefix_, ": ", count, " numbers from ", first,
              " on of ", width(x));
  if (count == width(x)) return x;
  const Value out = value("slice", count);
  block_.nodes.push_back(SliceNode{x, out, first});
  return out;
}

void BlockBuilder::write(Value x, int64_t first) { block_.nodes.push_back(WriteNode{x, first}); }

Value BlockBuilder::source() {
  const Value out = value("source", width(kStream));
  block_.nodes.push_back(SourceNode{out});
  return out;
}

int BlockBuilder::linear_of(Value x) const {
  for (const Node& node : block_.nodes) {
    const auto* linear = std::get_if<LinearNode>(&node);
    if (linear != nullptr && linear->out == x) return linear->linear;
  }
  throw Error(ErrorKind::Internal, cat(prefix_, ": value ", x, " comes from no linear"));
}

Value BlockBuilder::multiply(Value x, const std::string& name, int64_t size) {
  const Value out = value("multiplied", width(x));
  block_.nodes.push_back(MultiplyNode{x, out, prefix_ + name, size});
  return out;
}

Value BlockBuilder::cut(Value x, double deviations) {
  const Value out = value("cut", width(x));
  block_.nodes.push_back(CutNode{x, out, deviations});
  return out;
}

Value BlockBuilder::match(Value x, Value like, double least) {
  const Value out = value("matched", width(x));
  block_.nodes.push_back(MatchNode{x, like, out, least});
  return out;
}

Value BlockBuilder::scale(Value x, double factor) {
  if (factor == 1) return x;
  const Value out = value("scaled", width(x));
  block_.nodes.push_back(ScaleNode{x, out, factor});
  return out;
}

void BlockBuilder::scale_stream(double factor) {
  if (factor != 1) block_.nodes.push_back(ScaleNode{kStream, kStream, factor});
}

Value BlockBuilder::clamp(Value x, double limit) {
  const Value out = value("clamped", width(x));
  block_.nodes.push_back(ClampNode{x, out, limit});
  return out;
}

Value BlockBuilder::sum(std::vector<Value> parts) {
  const Value out = value("sum", width(parts.at(0)));
  block_.nodes.push_back(SumNode{std::move(parts), out});
  return out;
}

void BlockBuilder::add(Value x) { block_.nodes.push_back(AddNode{x}); }

Expert BlockBuilder::add_expert(int e, const ExpertsNode& form, int64_t hidden, int64_t inner,
                                const ExpertNames& names) {
  const int64_t count = form.router.rows, parts = names.names[0] == nullptr ? 1 : 2;
  const auto add_one = [&](int which, Role role, int64_t rows, int64_t columns) {
    LinearSpec linear{.name = cat(prefix_, names.experts, e, ".", names.names[which]),
                      .role = role,
                      .rows = rows,
                      .columns = columns,
                      .bias = names.biases,
                      .expert = e};
    const std::string& fused = which == 2 ? names.fused_out : names.fused_in;
    if (fused.empty()) return add_linear(std::move(linear));
    const int64_t all_rows = which == 2 ? rows : parts * rows, part = which == 1 ? parts - 1 : 0;
    Stored& stored = linear.stored;
    stored = {prefix_ + fused, {count, all_rows, columns}, e, names.interleaved ? part : part * rows};
    if (names.transposed) std::swap(stored.shape[1], stored.shape[2]);
    stored.transposed = names.transposed;
    if (names.interleaved && which != 2) stored.row_step = parts;
    if (names.biases) {
      linear.stored_bias = stored;
      linear.stored_bias.tensor += "_bias";
      linear.stored_bias.shape = {count, all_rows};
    }
    return add_linear(std::move(linear));
  };
  Expert out{-1, -1, -1};
  if (parts == 2) out.gate = add_one(0, Role::Gate, inner, hidden);
  out.up = add_one(1, Role::Up, inner, hidden);
  out.down = add_one(2, Role::Down, hidden, inner);
  return out;
}

Value BlockBuilder::experts(Value x, ExpertsNode form, int64_t inner, const ExpertNames& names) {
  const int64_t hidden = width(x), count = form.router.rows;
  form.in = x;
  if (form.router_in < 0) form.router_in = x;
  form.router.name = prefix_ + form.router.name;
  form.router.role = Role::Router;
  form.router.columns = width(form.router_in);
  if (!form.weight_scale.empty()) form.weight_scale = prefix_ + form.weight_scale;
  if (!form.router_bias.empty()) form.router_bias = prefix_ + form.router_bias;
  for (int e = 0; e < int(count); ++e) form.experts.push_back(add_expert(e, form, hidden, inner, names));
  form.out = value("experts", hidden);
  block_.nodes.push_back(std::move(form));
  return Value(block_.values.size()) - 1;
}

}  // namespace swage::graph
