#include "swage/eval/perplexity.h"

#include <ATen/ops/gather.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>

#include <chrono>
#include <cmath>

#include "swage/base/error.h"
#include "swage/eval/forward.h"

namespace swage::eval {
namespace {

constexpr int64_t kRowsOfLogits = 128;  // [128, 150k] f32 is 77 MB a thread

// Sum of -log p(answer) over the questions of a window.
double window_nll(const model::Model& model, const at::Tensor& hidden_TD, const at::Tensor& places_P,
                  const at::Tensor& answers_P) {
  const int64_t predicted = places_P.size(0);
  double sum = 0;
  for (int64_t first = 0; first < predicted; first += kRowsOfLogits) {
    const int64_t rows = std::min(kRowsOfLogits, predicted - first);
    const at::Tensor logits_TV = model.logits(rows_asked(hidden_TD, places_P, first, rows));
    const at::Tensor target_T1 = answers_P.narrow(0, first, rows).unsqueeze(1).to(logits_TV.device());
    const at::Tensor chosen_T = logits_TV.gather(1, target_T1).squeeze(1);
    sum += at::logsumexp(logits_TV, {1}).sub_(chosen_T).sum(at::kDouble).item<double>();
  }
  return sum;
}

}  // namespace

double Perplexity::perplexity() const { return std::exp(nll()); }

Perplexity perplexity(model::Model& model, const checkpoint::WeightSource& weights, const at::Tensor& windows_NL,
                      const Context& context, const PerplexityOptions& options) {
  const Questions asked = questions_of(model.program(), windows_NL, options.masking);
  const auto start = std::chrono::steady_clock::now();
  const int64_t windows = windows_NL.size(0),
                steps = (windows + options.windows_at_once - 1) / options.windows_at_once * model.blocks();
  int64_t step = 0;
  model.load_ends(weights);
  Perplexity out;
  for (int64_t first = 0; first < windows; first += options.windows_at_once) {
    const int64_t count = std::min(options.windows_at_once, windows - first);
    std::vector<model::Flow> flows = embed_rows(model, asked.ids_NL.narrow(0, first, count));
    run_blocks(model, weights, flows, context, [&](int64_t b) {
      ProgressEvent event{.stage = "evaluating", .layer = b, .layers = model.blocks(), .module = {}};
      event.elapsed_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      ++step;
      event.eta_seconds = event.elapsed_seconds / double(step) * double(steps - step);
      context.progress(event);
    });
    std::vector<double> nll(size_t(count), 0.0);
    for_each_parallel(flows[0].hidden_TD.device(), count, [&](int64_t i) {
      nll[size_t(i)] =
          window_nll(model, flows[size_t(i)].hidden_TD, asked.places_NP[first + i], asked.answers_NP[first + i]);
    });
    for (const double value : nll) out.nll_sum += value;
    out.tokens += count * asked.places_NP.size(1);
  }
  SWAGE_CHECK(std::isfinite(out.nll_sum), Numerical, "perplexity: the model's log likelihoods are not finite");
  return out;
}

}  // namespace swage::eval
