#include "swage/runtime/model_runner.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <optional>

#include "swage/base/error.h"
#include "swage/ops/device.h"
#include "swage/ops/rows_alone.h"

namespace swage::runtime {
namespace {

void add_rows(const at::Tensor& rows_TD, std::vector<double>& to) {
  const at::Tensor rows = rows_TD.to(at::kCPU, at::kFloat).contiguous();
  const float* value = rows.const_data_ptr<float>();
  to.resize(size_t(rows.size(1)));
  for (int64_t row = 0; row < rows.size(0); ++row) {
    for (double& sum : to) sum += *value++;
  }
}

}  // namespace

void check_continues_text(const graph::ModelProgram& program) {
  SWAGE_CHECK(program.predicts == graph::Predicts::Next && !program.target, Unsupported, "generate: the model is ",
              program.target ? "an encoder-decoder" : "an encoder",
              ", which does not continue text here; eval --token-ids runs it");
}

ModelRunner::ModelRunner(model::Model& model, const checkpoint::WeightSource& weights, const Context& context)
    : model_(model),
      on_host_(ops::to_torch(context.device).is_cpu()) {
  check_continues_text(model.program());
  model_.load_ends(weights);
  for (int64_t b = 0; b < model_.blocks(); ++b) {
    context.check_cancelled();
    if (b + 1 < model_.blocks()) weights.prefetch(model_.tensors_of_block(b + 1));
    blocks_.push_back(model_.load_block(b, weights));
  }
}

at::Tensor ModelRunner::run(const model::CacheLayout& layout, const std::vector<Piece>& pieces) const {
  // Half of what small operations cost is bookkeeping for gradients. Not c10::InferenceMode, whose tensors other
  // threads may not change.
  const at::AutoDispatchBelowADInplaceOrView no_gradients;
  std::optional<ops::RowsAlone> alone;
  if (on_host_) alone.emplace();
  model::Batch batch{&layout, {}};
  std::vector<at::Tensor> hidden;
  std::vector<int64_t> wanted;
  int64_t row = 0;
  for (const Piece& piece : pieces) {
    const auto count = int64_t(piece.ids.size());
    hidden.push_back(
        model_.embed(at::tensor(at::ArrayRef<int64_t>(piece.ids.data(), piece.ids.size()), at::kLong), piece.position));
    batch.sequences.push_back({row, count, piece.position, piece.known, piece.cache});
    row += count;
    for (int64_t i = row - piece.logits; i < row; ++i) wanted.push_back(i);
  }
  model::Flow flow;
  flow.hidden_TD = at::cat(hidden);
  flow.batch = &batch;
  for (const auto& block : blocks_) {
    block->forward(flow);
    ++flow.layer;
  }
  row = 0;
  for (const Piece& piece : pieces) {
    row += int64_t(piece.ids.size());
    if (piece.pooled > 0) add_rows(model_.last_hidden(flow.hidden_TD.slice(0, row - piece.pooled, row)), *piece.pool);
  }
  if (wanted.empty()) return {};
  const at::Tensor rows = at::tensor(wanted, at::kLong).to(flow.hidden_TD.device());
  return model_.logits(flow.hidden_TD.index_select(0, rows)).to(at::kCPU, at::kFloat).contiguous();
}

}  // namespace swage::runtime
