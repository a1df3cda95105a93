#include "swage/graph/rotation.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/graph/walk.h"

namespace swage::graph {
namespace {

// What a linear's two sides are, before anything is turned.
struct Sides {
  std::optional<NormSpec> norm;  // between the stream and its columns
  Basis rows = Basis::Other, columns = Basis::Other;
  RowSlice slice = {};
};

// Sides of the linears of a block.
class BlockSides {
 public:
  BlockSides(const BlockProgram& block, bool stream, bool heads)
      : block_(block),
        stream_(stream),
        sides_(block.linears.size()) {
    for (const Node& node : block.nodes) {
      if (const auto* linear = std::get_if<LinearNode>(&node)) read(linear->in, linear->linear);
      if (const auto* experts = std::get_if<ExpertsNode>(&node)) add_experts(*experts);
      if (const auto* sum = std::get_if<AddNode>(&node)) write(sum->in);
    }
    if (heads) turn_values();
  }

  const Sides& of(size_t linear) const { return sides_[linear]; }
  const Sides& router() const { return router_; }

 private:
  // The stream, or a norm of it.
  Sides reader(Value input) const {
    Sides out;
    if (!stream_) return out;
    if (input == kStream) out.columns = Basis::Stream;
    const Node* maker = maker_of(block_, input);
    const auto* norm = maker == nullptr ? nullptr : std::get_if<NormNode>(maker);
    if (norm == nullptr || norm->in != kStream) return out;
    out.columns = Basis::Stream;
    if (norm->norm.weight) out.norm = norm->norm;
    return out;
  }

  void read(Value input, int linear) {
    const Sides read = reader(input);
    sides_[size_t(linear)].norm = read.norm;
    sides_[size_t(linear)].columns = read.columns;
  }

  void add_experts(const ExpertsNode& experts) {
    router_ = reader(experts.router_in);
    for (const Expert& expert : experts.experts) {
      for (const int linear : expert.inputs()) read(experts.in, linear);
    }
  }

  // What adds `value` to the stream.
  void write(Value value) {
    if (!stream_) return;
    const Node* maker = maker_of(block_, value);
    if (const auto* scaled = std::get_if<ScaleNode>(maker)) maker = maker_of(block_, scaled->in);
    if (const auto* linear = std::get_if<LinearNode>(maker)) {
      sides_[size_t(linear->linear)].rows = Basis::Stream;
    } else if (const auto* experts = std::get_if<ExpertsNode>(maker)) {
      for (const Expert& expert : experts->experts) sides_[size_t(expert.down)].rows = Basis::Stream;
    }
  }

  void turn_values() {
    const AttentionNode* attention = block_.attention();
    if (attention == nullptr) return;
    const std::optional<MadeBy> values = linear_of(block_, attention->value);
    const bool whole = values && read_once(block_, attention->value) && read_by_linears_alone(block_, attention->out);
    SWAGE_CHECK(whole, Unsupported, "rotation R2: ", attention->name,
                ": its values do not go from a linear to a linear, so that they cannot be rotated between them");
    sides_[size_t(values->linear)].rows = Basis::Head;
    sides_[size_t(values->linear)].slice = values->rows;
    for (const Node* reader : readers_of(block_, attention->out))
      sides_[size_t(std::get<LinearNode>(*reader).linear)].columns = Basis::Head;
  }

  const BlockProgram& block_;
  const bool stream_;
  std::vector<Sides> sides_;
  Sides router_;
};

class Collector {
 public:
  Collector(const ModelProgram& model, const RotatedSpaces& spaces) : model_(model), spaces_(spaces) {}

  RotatedTensors collect() {
    const Basis stream = spaces_.stream ? Basis::Stream : Basis::Other;
    add({.name = model_.embedding.name + ".weight", .columns = stream});
    for (const auto* projection : {&model_.project_in, &model_.project_out}) {
      if (*projection) add_linear(**projection, {});
    }
    for (block_ = 0; block_ < int64_t(model_.blocks.size()); ++block_) add_block(model_.blocks[size_t(block_)]);
    block_ = -1;
    if (model_.final_norm) add_norm(*model_.final_norm);
    add_head(stream);
    out_.stream_size = model_.hidden_size;
    for (const BlockProgram& block : model_.blocks) {
      if (block.attention() != nullptr) out_.head_size = block.attention()->value_size;
    }
    return std::move(out_);
  }

 private:
  void add(RotatedTensor tensor) {
    if (tensor.rows == Basis::Other && tensor.columns == Basis::Other && !tensor.norm && !tensor.ones) return;
    if (tensor.source.empty()) tensor.source = tensor.name;
    tensor.block = block_;
    out_.tensors.push_back(std::move(tensor));
  }

  void add_norm(const NormSpec& norm) {
    if (spaces_.stream && norm.weight) add({.name = norm.name + ".weight", .ones = true, .offset = norm.offset});
  }

  // The basis, or what the reader turns in its place.
  Basis turned(const std::string& linear, Basis basis, const std::set<std::string>& linears, Basis online) const {
    if (!linears.contains(linear)) return basis;
    SWAGE_CHECK(basis == Basis::Other, Unsupported, linear, ": its ", online == Basis::Input ? "input" : "output",
                " would be rotated twice");
    return online;
  }

  void add_linear(const LinearSpec& linear, const Sides& sides) {
    const Basis rows = turned(linear.name, sides.rows, spaces_.outputs, Basis::Output);
    const Basis columns = turned(linear.name, sides.columns, spaces_.inputs, Basis::Input);
    RotatedTensor weight{.name = linear.tensor(),
                         .rows = rows,
                         .columns = columns,
                         .slice = sides.slice,
                         .reads = linear.columns,
                         .makes = linear.rows};
    if (sides.norm) {
      weight.norm = sides.norm->name + ".weight";
      weight.offset = sides.norm->offset;
    }
    const bool changes = rows != Basis::Other || columns != Basis::Other || weight.norm;
    SWAGE_CHECK(!linear.stored.transposed || !changes, Unsupported, linear.name,
                ": rotations of weights that are stored transposed are not supported");
    add(std::move(weight));
    if (linear.bias)
      add({.name = linear.name + ".bias",
           .columns = rows,
           .slice = sides.slice,
           .reads = linear.rows,
           .makes = linear.rows});
  }

  // A tensor of several linears, which must be turned alike.
  void add_shared(const BlockProgram& block, size_t first, const BlockSides& sides) {
    const LinearSpec& one = block.linears[first];
    for (const LinearSpec& linear : block.linears) {
      if (linear.stored.tensor != one.stored.tensor) continue;
      const bool alike = spaces_.inputs.contains(linear.name) == spaces_.inputs.contains(one.name) &&
                         spaces_.outputs.contains(linear.name) == spaces_.outputs.contains(one.name);
      SWAGE_CHECK(alike, Unsupported, one.stored.tensor, ": would be rotated for ", one.name, " or ", linear.name,
                  ", but not for both, which are parts of it");
    }
    add_linear(one, sides.of(first));
  }

  void add_head(Basis stream) {
    const std::string& head = model_.head.name;
    SWAGE_CHECK(!model_.tied_embeddings || (!spaces_.inputs.contains(head) && !spaces_.outputs.contains(head)),
                Unsupported, head,
                ": embedding and head of this model share one table, which cannot be rotated for the head alone; add "
                "it to ignore");
    Sides sides{.norm = {}, .columns = stream};
    if (spaces_.stream && model_.final_norm && model_.final_norm->weight) sides.norm = *model_.final_norm;
    add_linear(model_.head, sides);
    if (!model_.tied_embeddings || !spaces_.stream) return;
    for (RotatedTensor& tensor : out_.tensors) {
      if (tensor.name == head + ".weight") tensor.source = model_.embedding.name + ".weight";
    }
    out_.unties_head = true;
  }

  void add_block(const BlockProgram& block) {
    const BlockSides sides(block, spaces_.stream, spaces_.heads);
    for (const Node& node : block.nodes) {
      const auto* norm = std::get_if<NormNode>(&node);
      if (norm != nullptr && norm->in == kStream) add_norm(norm->norm);
    }
    if (const ExpertsNode* experts = block.experts()) add_linear(experts->router, sides.router());
    std::set<std::string> shared;
    for (size_t i = 0; i < block.linears.size(); ++i) {
      const Stored& stored = block.linears[i].stored;
      if (!stored.shared())
        add_linear(block.linears[i], sides.of(i));
      else if (shared.insert(stored.tensor).second)
        add_shared(block, i, sides);
    }
  }

  const ModelProgram& model_;
  const RotatedSpaces& spaces_;
  int64_t block_ = -1;
  RotatedTensors out_;
};

void check_norm(const NormSpec& norm) {
  SWAGE_CHECK(
      norm.kind == NormKind::Rms, Unsupported, "rotation R1: ", norm.name,
      " is a LayerNorm, whose mean is not the same after a rotation; only architectures with RMSNorm can take R1");
}

void check_behind(const NormSpec& norm) {
  throw Error(
      ErrorKind::Unsupported,
      cat("rotation R1: ", norm.name, " stands behind its layer, where it cannot be folded into one that reads it"));
}

// Whether what the node does with the stream is the same when that is turned, or is looked at where norms are.
bool may_read_stream(const Node& node) {
  return std::holds_alternative<NormNode>(node) || std::holds_alternative<LinearNode>(node) ||
         std::holds_alternative<ExpertsNode>(node) || std::holds_alternative<AddNode>(node) ||
         std::holds_alternative<ScaleNode>(node);
}

// That the stream is read through norms by linears, or by linears, and written by linears.
void check_stream(const BlockProgram& block) {
  for (const Node& node : block.nodes) {
    for (const Value value : operands_of(node))
      SWAGE_CHECK(value != kStream || may_read_stream(node), Unsupported,
                  "rotation R1: the residual stream is read by more than norms and linears");
    if (const auto* norm = std::get_if<NormNode>(&node); norm != nullptr && norm->in == kStream) {
      check_norm(norm->norm);
      if (norm->out == kStream) check_behind(norm->norm);
      SWAGE_CHECK(read_by_linears_alone(block, norm->out), Unsupported, "rotation R1: ", norm->norm.name,
                  " is read by more than linears, into which it cannot be folded");
    } else if (const auto* sum = std::get_if<AddNode>(&node)) {
      const Node* maker = maker_of(block, sum->in);
      if (const auto* behind = std::get_if<NormNode>(maker)) check_behind(behind->norm);
      if (const auto* scaled = std::get_if<ScaleNode>(maker)) maker = maker_of(block, scaled->in);
      const bool by_linear = std::holds_alternative<LinearNode>(*maker) || std::holds_alternative<ExpertsNode>(*maker);
      SWAGE_CHECK(by_linear, Unsupported, "rotation R1: what is added to the residual stream comes from no linear");
    }
  }
}

}  // namespace

RotatedTensors rotated_tensors(const ModelProgram& model, const RotatedSpaces& spaces) {
  if (spaces.stream) {
    SWAGE_CHECK(model.side_modules.empty(), Unsupported, "rotation R1: modules that are copied as they are (",
                model.side_modules.front(), ") read or write the residual stream too");
    SWAGE_CHECK(model.stream_width == 0, Unsupported,
                "rotation R1: the residual stream of this model carries more than the hidden state");
    SWAGE_CHECK(!model.target, Unsupported, "rotation R1: two residual streams, of an encoder and a decoder");
    for (const BlockProgram& block : model.blocks) check_stream(block);
    if (model.final_norm) check_norm(*model.final_norm);
    SWAGE_CHECK(!model.positions && !model.project_in && !model.project_out && !model.embedding_norm &&
                    !model.token_types && !model.head_transform,
                Unsupported, "rotation R1: learned positions and projections around the blocks are not supported");
  }
  return Collector(model, spaces).collect();
}

RotationSites rotation_sites(const ModelProgram& model) {
  RotationSites out;
  for (const BlockProgram& block : model.blocks) {
    if (const AttentionNode* attention = block.attention()) {
      out.attentions.push_back(attention->name);
      const bool other = out.attentions.size() > 1 && out.head_size != attention->head_size;
      out.head_size = other ? 0 : attention->head_size;
    }
    for (const LinearSpec& linear : block.linears) {
      if (linear.role == Role::Down) out.last_of_mlp.push_back(linear.name);
    }
  }
  return out;
}

}  // namespace swage::graph
