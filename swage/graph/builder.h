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
  // Of what is built from here on.
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  int64_t width(Value value) const { return block_.values[size_t(value)].width; }

  // Over all numbers of x, or each head, by norm.size.
  Value norm(Value x, NormSpec norm);
  // The stream itself becomes its norm, or that of x.
  void norm_stream(NormSpec norm, Value x = kStream);
  Value linear(Value x, Role role, const std::string& name, int64_t rows, bool bias = false);
  // The same with all that a LinearSpec can say; its name is relative, its columns are those of x.
  Value linear(Value x, LinearSpec linear);
  std::vector<Value> split(Value x, std::vector<int64_t> sizes, int64_t groups = 1);
  // Head by head: the numbers of each part, the last of which may have one head alone, which all share.
  Value join(std::vector<Value> parts, int64_t heads, bool shares_last = false);
  Value rope(Value x, int64_t heads, int table, int64_t first = 0);
  // `form` without its values and name; names of tables in it are whole.
  Value attention(Value query, Value key, Value value, const std::string& name, AttentionNode form);
  // Over all numbers of x, of which each of `names` has its share, in order.
  Value convolution(Value x, std::vector<ConvolutionNode::Part> parts, int64_t kernel, bool bias,
                    Activation activation);
  Value neighbours(Value x, const std::string& name, int64_t kernel, Activation activation);
  // `form` with its values, names relative.
  Value recurrence(RecurrenceNode form);
  Value activate(Value x, Activation activation);
  // Xielu with the tensors of module `parameters`.
  Value activate(Value x, Activation activation, const std::string& parameters);
  Value gate(Value gate, Value up, Activation activation) { return this->gate(gate, up, Gating{activation}); }
  Value gate(Value gate, Value up, Gating gating);
  Value position_scale(Value x, double scale, double offset, double period);
  // Part of x; x itself if that is all.
  Value slice(Value x, int64_t first, int64_t count);
  void write(Value x, int64_t first);
  Value source();
  Value multiply(Value x, const std::string& name, int64_t size = 1);
  Value cut(Value x, double deviations);
  Value match(Value x, Value like, double least);
  Value scale(Value x, double factor);
  void scale_stream(double factor);
  Value clamp(Value x, double limit);
  Value sum(std::vector<Value> parts);
  void add(Value x);

  // A mixture of MLPs: `form` with router and rules, without experts. Expert e has linears `experts` + e + "." +
  // names (gate, up, down) of `inner` numbers. `fused_in` and `fused_out`: tensors [E, 2 inner, D] and [E, D, inner]
  // that hold them all; empty: they are stored one by one.
  struct ExpertNames {
    std::string experts;
    const char* const* names;  // three; the first null: no gate
    std::string fused_in = {}, fused_out = {};
    bool transposed = false;   // those tensors are [E, D, 2 inner] and [E, inner, D]
    bool interleaved = false;  // rows of gate and up take turns in them
    bool biases = false;       // one by one as .bias, fused as [E, 2 inner] and [E, D] in fused_in + "_bias" and so on
  };
  Value experts(Value x, ExpertsNode form, int64_t inner, const ExpertNames& names);

  // Of a block that has part of the stream's rows alone.
  void only(Rows rows) { block_.rows = rows; }
  // Index of the linear that made x.
  int linear_of(Value x) const;
  // The stream becomes an activation of x.
  void activate_stream(Value x, Activation activation) { block_.nodes.push_back(ActivateNode{x, kStream, activation}); }

  BlockProgram finish() { return std::move(block_); }

 private:
  Value value(std::string name, int64_t width);
  int add_linear(LinearSpec linear);
  Expert add_expert(int e, const ExpertsNode& form, int64_t hidden, int64_t inner, const ExpertNames& names);

  std::string prefix_;
  BlockProgram block_;
};

}  // namespace swage::graph
