#include "swage/model/rotation.h"

#include "swage/base/error.h"

namespace swage::model {
namespace {

class Collector {
 public:
  Collector(const ModelDescription& model, bool stream, bool heads) : model_(model), stream_(stream ? Basis::Stream : Basis::Other), heads_(heads ? Basis::Head : Basis::Other) {}

  RotatedTensors collect() {
    const EmbeddingDescription& embedding = model_.embedding;
    add(embedding.name + ".weight", {}, Basis::Other, stream_);
    for (block_ = 0; block_ < int64_t(model_.blocks.size()); ++block_) add_block(model_.blocks[size_t(block_)]);
    block_ = -1;
    if (model_.final_norm) add_norm(*model_.final_norm);
    add_reader(model_.head, model_.final_norm ? &*model_.final_norm : nullptr);
    if (model_.tied_embeddings && rotates_stream()) {
      for (RotatedTensor& tensor : out_.tensors) {
        if (tensor.name == model_.head.name + ".weight") tensor.source = embedding.name + ".weight";
      }
      out_.unties_head = true;
    }
    out_.stream_size = model_.hidden_size;
    if (!model_.blocks.empty()) out_.head_size = model_.blocks[0].attention.head_size;
    return std::move(out_);
  }

 private:
  bool rotates_stream() const { return stream_ == Basis::Stream; }

  void add(const std::string& name, std::optional<std::string> norm, Basis rows, Basis columns) {
    if (rows == Basis::Other && columns == Basis::Other && !norm) return;
    out_.tensors.push_back({.name = name, .source = name, .norm = std::move(norm), .rows = rows, .columns = columns, .block = block_});
  }

  void add_norm(const NormDescription& norm) {
    if (!rotates_stream()) return;
    out_.tensors.push_back({.name = norm.name + ".weight", .source = norm.name + ".weight", .norm = {}, .ones = true, .block = block_});
  }

  std::optional<std::string> folded(const NormDescription* norm) const {
    if (norm == nullptr || !rotates_stream()) return {};
    return norm->name + ".weight";
  }

  // A linear that reads the stream through a norm. What it adds is not rotated, but for `rows`.
  void add_reader(const LinearDescription& linear, const NormDescription* norm, Basis rows = Basis::Other) {
    add(linear.name + ".weight", folded(norm), rows, stream_);
    if (linear.bias) add(linear.name + ".bias", {}, Basis::Other, rows);
  }

  // One that adds to the stream.
  void add_writer(const LinearDescription& linear, Basis columns = Basis::Other) {
    add(linear.name + ".weight", {}, stream_, columns);
    if (linear.bias) add(linear.name + ".bias", {}, Basis::Other, stream_);
  }

  void add_mlp(const MlpDescription& mlp, const NormDescription& norm) {
    if (mlp.gate) add_reader(*mlp.gate, &norm);
    add_reader(mlp.up, &norm);
    add_writer(mlp.down);
  }

  void add_experts(const MoeDescription& moe, const NormDescription& norm) {
    add_reader(moe.router, &norm);
    if (moe.fused.empty()) {
      for (const MlpDescription& expert : moe.experts) add_mlp(expert, norm);
      return;
    }
    add(moe.fused + ".gate_up_proj", folded(&norm), Basis::Other, stream_);
    add(moe.fused + ".down_proj", {}, stream_, Basis::Other);
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

RotatedTensors rotated_tensors(const ModelDescription& model, bool stream, bool heads) {
  if (stream) check_stream(model);
  return Collector(model, stream, heads).collect();
}

}  // namespace swage::model
