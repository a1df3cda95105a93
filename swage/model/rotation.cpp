#include "swage/model/rotation.h"

#include "swage/base/error.h"

namespace swage::model {
namespace {

class Collector {
 public:
  Collector(const ModelDescription& model, const RotatedSpaces& spaces)
      : model_(model), spaces_(spaces), stream_(spaces.stream ? Basis::Stream : Basis::Other), heads_(spaces.heads ? Basis::Head : Basis::Other) {}

  RotatedTensors collect() {
    const EmbeddingDescription& embedding = model_.embedding;
    add(embedding.name + ".weight", {}, Basis::Other, stream_);
    for (const auto* projection : {&model_.project_in, &model_.project_out}) {
      if (*projection) add_linear(**projection, {}, Basis::Other, Basis::Other);
    }
    for (block_ = 0; block_ < int64_t(model_.blocks.size()); ++block_) add_block(model_.blocks[size_t(block_)]);
    block_ = -1;
    if (model_.final_norm) add_norm(*model_.final_norm);
    add_head();
    out_.stream_size = model_.hidden_size;
    if (!model_.blocks.empty()) out_.head_size = model_.blocks[0].attention.head_size;
    return std::move(out_);
  }

 private:
  bool rotates_stream() const { return spaces_.stream; }

  void add(const std::string& name, std::optional<std::string> norm, Basis rows, Basis columns, int64_t makes = 0, int64_t reads = 0) {
    if (rows == Basis::Other && columns == Basis::Other && !norm) return;
    out_.tensors.push_back({.name = name, .source = name, .norm = std::move(norm), .rows = rows, .columns = columns, .block = block_, .reads = reads, .makes = makes});
  }

  void add_norm(const NormDescription& norm) {
    if (!rotates_stream()) return;
    out_.tensors.push_back({.name = norm.name + ".weight", .source = norm.name + ".weight", .norm = {}, .ones = true, .block = block_});
  }

  std::optional<std::string> folded(const NormDescription* norm) const {
    if (norm == nullptr || !rotates_stream()) return {};
    return norm->name + ".weight";
  }

  // The basis, or what the reader turns in its place.
  Basis turned(const std::string& linear, Basis basis, const std::set<std::string>& linears, Basis online) const {
    if (!linears.contains(linear)) return basis;
    SWAGE_CHECK(basis == Basis::Other, Unsupported, linear, ": its ", online == Basis::Input ? "input" : "output", " would be rotated twice");
    return online;
  }

  void add_linear(const LinearDescription& linear, std::optional<std::string> norm, Basis rows, Basis columns) {
    rows = turned(linear.name, rows, spaces_.outputs, Basis::Output);
    columns = turned(linear.name, columns, spaces_.inputs, Basis::Input);
    add(linear.name + ".weight", std::move(norm), rows, columns, linear.rows, linear.columns);
    if (linear.bias) add(linear.name + ".bias", {}, Basis::Other, rows, linear.rows, linear.rows);
  }

  // A linear that reads the stream through a norm. What it adds is not rotated, but for `rows`.
  void add_reader(const LinearDescription& linear, const NormDescription* norm, Basis rows = Basis::Other) { add_linear(linear, folded(norm), rows, stream_); }

  // One that adds to the stream.
  void add_writer(const LinearDescription& linear, Basis columns = Basis::Other) { add_linear(linear, {}, stream_, columns); }

  void add_head() {
    const std::string& head = model_.head.name;
    SWAGE_CHECK(!model_.tied_embeddings || (!spaces_.inputs.contains(head) && !spaces_.outputs.contains(head)), Unsupported, head,
                ": embedding and head of this model share one table, which cannot be rotated for the head alone; add it to ignore");
    add_reader(model_.head, model_.final_norm ? &*model_.final_norm : nullptr);
    if (!model_.tied_embeddings || !rotates_stream()) return;
    for (RotatedTensor& tensor : out_.tensors) {
      if (tensor.name == head + ".weight") tensor.source = model_.embedding.name + ".weight";
    }
    out_.unties_head = true;
  }

  void add_mlp(const MlpDescription& mlp, const NormDescription& norm) {
    if (mlp.gate) add_reader(*mlp.gate, &norm);
    add_reader(mlp.up, &norm);
    add_writer(mlp.down);
  }

  // A tensor of several linears, which must be turned alike.
  void add_fused(const std::string& name, const std::vector<const LinearDescription*>& linears, std::optional<std::string> norm, Basis rows, Basis columns) {
    for (const LinearDescription* linear : linears) {
      const bool alike = spaces_.inputs.contains(linear->name) == spaces_.inputs.contains(linears[0]->name) &&
                         spaces_.outputs.contains(linear->name) == spaces_.outputs.contains(linears[0]->name);
      SWAGE_CHECK(alike, Unsupported, name, ": would be rotated for ", linears[0]->name, " or ", linear->name, ", but not for both, which are parts of it");
    }
    rows = turned(linears[0]->name, rows, spaces_.outputs, Basis::Output);
    columns = turned(linears[0]->name, columns, spaces_.inputs, Basis::Input);
    add(name, std::move(norm), rows, columns, linears[0]->rows, linears[0]->columns);
  }

  void add_experts(const MoeDescription& moe, const NormDescription& norm) {
    add_reader(moe.router, &norm);
    if (moe.fused.empty()) {
      for (const MlpDescription& expert : moe.experts) add_mlp(expert, norm);
      return;
    }
    std::vector<const LinearDescription*> in, out;
    for (const MlpDescription& expert : moe.experts) {
      in.insert(in.end(), {&*expert.gate, &expert.up});
      out.push_back(&expert.down);
    }
    add_fused(moe.fused + ".gate_up_proj", in, folded(&norm), Basis::Other, stream_);
    add_fused(moe.fused + ".down_proj", out, {}, stream_, Basis::Other);
  }

  void add_block(const BlockDescription& block) {
    const AttentionDescription& attention = block.attention;
    add_norm(block.attention_norm);
    add_reader(attention.query, &block.attention_norm);
    add_reader(attention.key, &block.attention_norm);
    add_reader(attention.value, &block.attention_norm, heads_);
    add_writer(attention.output, heads_);
    add_norm(block.mlp_norm);
    if (const auto* mlp = std::get_if<MlpDescription>(&block.mlp)) return add_mlp(*mlp, block.mlp_norm);
    add_experts(std::get<MoeDescription>(block.mlp), block.mlp_norm);
  }

  const ModelDescription& model_;
  const RotatedSpaces& spaces_;
  const Basis stream_, heads_;
  int64_t block_ = -1;
  RotatedTensors out_;
};

void check_norm(const NormDescription& norm) {
  SWAGE_CHECK(norm.kind == NormKind::Rms, Unsupported, "rotation R1: ", norm.name,
              " is a LayerNorm, whose mean is not the same after a rotation; only architectures with RMSNorm can take R1");
}

void check_stream(const ModelDescription& model) {
  for (const BlockDescription& block : model.blocks) {
    check_norm(block.attention_norm);
    check_norm(block.mlp_norm);
    SWAGE_CHECK(!block.norm_after, Unsupported, "rotation R1: ", block.attention_norm.name, " stands behind its layer, where it cannot be folded into one that reads it");
  }
  if (model.final_norm) check_norm(*model.final_norm);
  SWAGE_CHECK(!model.positions && !model.project_in && !model.project_out, Unsupported,
              "rotation R1: learned positions and projections around the blocks are not supported");
}

}  // namespace

RotatedTensors rotated_tensors(const ModelDescription& model, const RotatedSpaces& spaces) {
  if (spaces.stream) check_stream(model);
  return Collector(model, spaces).collect();
}

RotationSites rotation_sites(const ModelDescription& model) {
  RotationSites out;
  for (const BlockDescription& block : model.blocks) {
    const std::string& query = block.attention.query.name;
    out.attentions.push_back(query.substr(0, query.rfind('.')));
    out.head_size = block.attention.head_size;
    if (const auto* mlp = std::get_if<MlpDescription>(&block.mlp)) {
      out.last_of_mlp.push_back(mlp->down.name);
      continue;
    }
    for (const MlpDescription& expert : std::get<MoeDescription>(block.mlp).experts) out.last_of_mlp.push_back(expert.down.name);
  }
  return out;
}

}  // namespace swage::model
