// Builder of a block program: one call a node, each returns the value it makes. Names are relative to the block's
// prefix.
//
//   BlockBuilder b("model.layers.3.", hidden);
//   const Value x = b.norm(kStream, {"input_layernorm", NormKind::Rms, hidden});
//   b.add(b.linear(b.activate(b.linear(x, Role::Up, "mlp.fc1", inner), Activation::Gelu), Role::Down, "mlp.fc2",
//   hidden)); model.blocks.push_back(b.finish());
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "swage/graph/program.h"

namespace swage::graph {

class BlockBuilder {
 public:
  BlockBuilder(std::string prefix, int64_t hidden);

  const std::string& prefix() const { return prefix_; }
  int64_t width(Value value) const { return block_.values[size_t(value)].width; }

  // Over all numbers of x, or each head, by norm.size.
  Value norm(Value x, NormSpec norm);
  // The stream itself becomes its norm.
  void norm_stream(NormSpec norm);
  Value linear(Value x, Role role, const std::string& name, int64_t rows, bool bias = false);
  // The same with all that a LinearSpec can say; its name is relative, its columns are those of x.
  Value linear(Value x, LinearSpec linear);
  std::vector<Value> split(Value x, std::vector<int64_t> sizes, int64_t groups = 1);
  // Head by head: the numbers of each part, the last of which may have one head alone, which all share.
  Value join(std::vector<Value> parts, int64_t heads, bool shares_last = false);
  Value rope(Value x, int64_t heads, int table, int64_t first = 0);
  // `form` without its values and name.
  Value attention(Value query, Value key, Value value, const std::string& name, AttentionNode form);
  Value activate(Value x, Activation activation);
  Value gate(Value gate, Value up, Activation activation);
  Value scale(Value x, double factor);
  Value clamp(Value x, double limit);
  void add(Value x);

  // A mixture of gated MLPs: `form` with router and rules, without experts. Expert e has linears `experts` + e + "." +
  // names (gate, up, down) of `inner` numbers. `fused_in` and `fused_out`: tensors [E, 2 inner, D] and [E, D, inner]
  // that hold them all; empty: they are stored one by one.
  struct ExpertNames {
    std::string experts;
    const char* const* names;  // three
    std::string fused_in = {}, fused_out = {};
  };
  Value experts(Value x, ExpertsNode form, int64_t inner, const ExpertNames& names);

  BlockProgram finish() { return std::move(block_); }

 private:
  Value value(std::string name, int64_t width);
  int add_linear(LinearSpec linear);

  std::string prefix_;
  BlockProgram block_;
};

}  // namespace swage::graph
