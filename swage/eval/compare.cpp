#include "swage/eval/compare.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/eval/forward.h"

namespace swage::eval {
namespace {

struct WindowResult {
  double baseline_nll = 0, model_nll = 0;
  int64_t same = 0;
  std::vector<float> kl;
};

WindowResult compare_window(const model::Model& baseline, const model::Model& model, const at::Tensor& baseline_TD,
                            const at::Tensor& model_TD, const at::Tensor& places_P, const at::Tensor& answers_P) {
  WindowResult out;
  const int64_t predicted = places_P.size(0);
  for (int64_t first = 0; first < predicted; first += kRowsCompared) {
    const int64_t rows = std::min(kRowsCompared, predicted - first);
    const at::Tensor p_TV = at::log_softmax(baseline.logits(rows_asked(baseline_TD, places_P, first, rows)), -1);
    const at::Tensor q_TV = at::log_softmax(model.logits(rows_asked(model_TD, places_P, first, rows)), -1);
    const at::Tensor target_T1 = answers_P.narrow(0, first, rows).unsqueeze(1).to(p_TV.device());
    out.baseline_nll -= p_TV.gather(1, target_T1).sum(at::kDouble).item<double>();
    out.model_nll -= q_TV.gather(1, target_T1).sum(at::kDouble).item<double>();
    out.same += p_TV.argmax(-1).eq(q_TV.argmax(-1)).sum().item<int64_t>();
    const at::Tensor kl_T = p_TV.exp().mul_(p_TV - q_TV).sum(-1).cpu().contiguous();
    out.kl.insert(out.kl.end(), kl_T.const_data_ptr<float>(), kl_T.const_data_ptr<float>() + rows);
  }
  return out;
}

struct Side {
  model::Model& model;
  const checkpoint::WeightSource& weights;
  std::vector<model::Flow> flows;  // of the windows at hand
};

void run_block(Side& side, int64_t b) {
  if (b + 1 < side.model.blocks()) side.weights.prefetch(side.model.tensors_of_block(b + 1));
  const std::unique_ptr<model::Block> block = side.model.load_block(b, side.weights);
  for_each_parallel(side.flows[0].hidden_TD.device(), int64_t(side.flows.size()),
                    [&](int64_t i) { block->forward(side.flows[size_t(i)]); });
}

// Squares, summed over the windows at hand: of the difference between the two streams, and of the baseline's.
struct StreamSums {
  double change = 0, size = 0;
};

StreamSums stream_sums(const Side& baseline, const Side& side) {
  std::vector<StreamSums> sums(side.flows.size());
  for_each_parallel(int64_t(sums.size()), [&](int64_t i) {
    const at::Tensor &before_TD = baseline.flows[size_t(i)].hidden_TD, &after_TD = side.flows[size_t(i)].hidden_TD;
    sums[size_t(i)] = {after_TD.sub(before_TD).square_().sum(at::kDouble).item<double>(),
                       before_TD.square().sum(at::kDouble).item<double>()};
  });
  StreamSums out;
  for (const StreamSums& one : sums) {
    out.change += one.change;
    out.size += one.size;
  }
  return out;
}

// Takes both through their blocks side by side; adds what the streams are behind each block to `streams`, if they can
// be compared.
void run(Side& baseline, Side& side, const at::Tensor& ids_NL, const Context& context,
         std::vector<StreamSums>& streams) {
  for (Side* one : {&baseline, &side}) one->flows = embed_rows(one->model, ids_NL);
  const int64_t blocks = std::max(baseline.model.blocks(), side.model.blocks());
  const bool comparable = baseline.model.blocks() == side.model.blocks() &&
                          baseline.flows[0].hidden_TD.sizes() == side.flows[0].hidden_TD.sizes();
  if (comparable) streams.resize(size_t(blocks));
  for (int64_t b = 0; b < blocks; ++b) {
    context.check_cancelled();
    for (Side* one : {&baseline, &side}) {
      if (b < one->model.blocks()) run_block(*one, b);
    }
    release_free_memory();
    if (!comparable) continue;
    const StreamSums sums = stream_sums(baseline, side);
    streams[size_t(b)].change += sums.change;
    streams[size_t(b)].size += sums.size;
  }
}

}  // namespace

Comparison compare(model::Model& baseline, const checkpoint::WeightSource& baseline_weights, model::Model& model,
                   const checkpoint::WeightSource& model_weights, const at::Tensor& windows_NL, const Context& context,
                   const PerplexityOptions& options) {
  SWAGE_CHECK(baseline.vocabulary_size() == model.vocabulary_size(), InvalidArgument, "the baseline has ",
              baseline.vocabulary_size(), " tokens, the model ", model.vocabulary_size(), ": they cannot be compared");
  SWAGE_CHECK(baseline.program().predicts == model.program().predicts, InvalidArgument,
              "the baseline and the model predict different things: they cannot be compared");
  const Questions asked = questions_of(model.program(), windows_NL, options.masking);
  baseline.load_ends(baseline_weights);
  model.load_ends(model_weights);
  Comparison out;
  std::vector<float> kl;
  int64_t same = 0;
  std::vector<StreamSums> streams;
  Side before{baseline, baseline_weights, {}}, after{model, model_weights, {}};
  const int64_t windows = windows_NL.size(0);
  for (int64_t first = 0; first < windows; first += options.windows_at_once) {
    const at::Tensor ids_NL = asked.ids_NL.narrow(0, first, std::min(options.windows_at_once, windows - first));
    run(before, after, ids_NL, context, streams);
    std::vector<WindowResult> results(before.flows.size());
    for_each_parallel(int64_t(results.size()), [&](int64_t i) {
      results[size_t(i)] =
          compare_window(baseline, model, before.flows[size_t(i)].hidden_TD, after.flows[size_t(i)].hidden_TD,
                         asked.places_NP[first + i], asked.answers_NP[first + i]);
    });
    for (const WindowResult& result : results) {
      out.baseline.nll_sum += result.baseline_nll;
      out.model.nll_sum += result.model_nll;
      same += result.same;
      kl.insert(kl.end(), result.kl.begin(), result.kl.end());
    }
  }
  SWAGE_CHECK(std::isfinite(out.baseline.nll_sum) && std::isfinite(out.model.nll_sum), Numerical,
              "compare: log likelihoods are not finite");
  for (const StreamSums& sums : streams) out.block_errors.push_back(std::sqrt(sums.change / sums.size));
  out.baseline.tokens = out.model.tokens = int64_t(kl.size());
  for (const float value : kl) out.kl_mean += double(value) / double(kl.size());
  const size_t at = size_t(std::ceil(0.99 * double(kl.size()))) - 1;
  std::nth_element(kl.begin(), kl.begin() + std::ptrdiff_t(at), kl.end());
  out.kl_p99 = kl[at];
  out.same_top1 = double(same) / double(kl.size());
  return out;
}

}  // namespace swage::eval
