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

void BlockBuilder::norm_stream(NormSpec norm) {
  norm.name = prefix_ + norm.name;
  block_.nodes.push_back(NormNode{kStream, kStream, std::move(norm)});
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
  form.out = this->value("attention", form.heads * form.value_size);
  block_.nodes.push_back(std::move(form));
  return Value(block_.values.size()) - 1;
}

Value BlockBuilder::activate(Value x, Activation activation) {
  const Value out = value("activated", width(x));
  block_.nodes.push_back(ActivateNode{x, out, activation});
  return out;
}

Value BlockBuilder::gate(Value gate, Value up, Activation activation) {
  const Value out = value("gated", width(up));
  block_.nodes.push_back(GateNode{gate, up, out, activation});
  return out;
}

Value BlockBuilder::scale(Value x, double factor) {
  if (factor == 1) return x;
  const Value out = value("scaled", width(x));
  block_.nodes.push_back(ScaleNode{x, out, factor});
  return out;
}

Value BlockBuilder::clamp(Value x, double limit) {
  const Value out = value("clamped", width(x));
  block_.nodes.push_back(ClampNode{x, out, limit});
  return out;
}

void BlockBuilder::add(Value x) { block_.nodes.push_back(AddNode{x}); }

Value BlockBuilder::experts(Value x, ExpertsNode form, int64_t inner, const ExpertNames& names) {
  const int64_t hidden = width(x), count = form.router.rows;
  form.in = x;
  form.router.name = prefix_ + form.router.name;
  form.router.role = Role::Router;
  form.router.columns = hidden;
  if (!form.router_bias.empty()) form.router_bias = prefix_ + form.router_bias;
  const bool fused = !names.fused_in.empty();
  const auto slice = [&](const std::string& tensor, int64_t rows, int64_t columns, int expert, int64_t first_row) {
    return fused ? Stored{prefix_ + tensor, {count, rows, columns}, expert, first_row} : Stored();
  };
  for (int e = 0; e < int(count); ++e) {
    const auto add_one = [&](int which, Role role, int64_t rows, int64_t columns, Stored stored) {
      return add_linear({.name = cat(prefix_, names.experts, e, ".", names.names[which]),
                         .role = role,
                         .rows = rows,
                         .columns = columns,
                         .expert = e,
                         .stored = std::move(stored)});
    };
    const int gate = add_one(0, Role::Gate, inner, hidden, slice(names.fused_in, 2 * inner, hidden, e, 0));
    const int up = add_one(1, Role::Up, inner, hidden, slice(names.fused_in, 2 * inner, hidden, e, inner));
    form.experts.push_back(
        {gate, up, add_one(2, Role::Down, hidden, inner, slice(names.fused_out, hidden, inner, e, 0))});
  }
  form.out = value("experts", hidden);
  block_.nodes.push_back(std::move(form));
  return Value(block_.values.size()) - 1;
}

}  // namespace swage::graph
