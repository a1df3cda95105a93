#include <chrono>

#include "swage/api/guard.h"
#include "swage/api/model_session.h"
#include "swage/base/memory.h"
#include "swage/data/data_source.h"
#include "swage/data/framing.h"
#include "swage/eval/compare.h"

namespace swage {
namespace {

constexpr uint64_t kMostBytesPerToken = 8;  // more than texts have on average

eval::Perplexity compare(const EvaluateOptions& options, const api::ModelSession& session, const at::Tensor& windows_NL,
                         const eval::PerplexityOptions& asked, const Context& context, Json& out) {
  const api::ModelSession baseline(options.baseline, options.hub, context);
  const eval::Comparison result =
      eval::compare(*baseline.model, baseline.weights, *session.model, session.weights, windows_NL, context, asked);
  out.set("baseline", options.baseline);
  out.set("baseline_perplexity", result.baseline.perplexity());
  out.set("perplexity_ratio", result.model.perplexity() / result.baseline.perplexity());
  out.set("kl_mean", result.kl_mean);
  out.set("kl_p99", result.kl_p99);
  out.set("same_top1", result.same_top1);
  Json errors = Json::array();
  for (const double error : result.block_errors) errors.push_back(error);
  out.set("layer_relative_errors", std::move(errors));
  return result.model;
}

}  // namespace

Json evaluate(const EvaluateOptions& options, const Context& context) {
  return api::guard(context, [&] {
    const auto start = std::chrono::steady_clock::now();
    SWAGE_CHECK(options.window >= 2, InvalidArgument, "window ", options.window, ": expected at least 2 tokens");
    data::parse_data_spec(options.data.file);  // a name that is nothing is known before a model is fetched
    const api::ModelSession session(options.model, options.hub, context);
    const int64_t positions = session.model->max_positions();
    SWAGE_CHECK(positions == 0 || options.window <= positions, InvalidArgument, "window ", options.window,
                ": the model takes ", positions, " tokens");
    const uint64_t enough =
        uint64_t(std::max<int64_t>(0, options.max_windows)) * uint64_t(options.window) * kMostBytesPerToken;
    const data::Documents documents = data::load_documents(
        {.name = options.data.file, .text_column = options.data.text_column, .held_out = true, .enough_bytes = enough},
        session.tokenizer, api::hub_options(options.hub), context);
    const graph::Predicts predicts = session.model->program().predicts;
    const bool masked = predicts == graph::Predicts::Masked;
    const std::vector<int64_t> suffix = masked ? data::suffix_ids(session.tokenizer) : std::vector<int64_t>();
    const at::Tensor windows_NL = data::with_suffix(
        data::make_windows(documents, session.tokenizer,
                           {.window = options.window - int64_t(suffix.size()), .max_windows = options.max_windows}),
        suffix);
    eval::PerplexityOptions asked;
    if (masked)
      asked.masking = {.token = data::mask_id(session.tokenizer).value_or(-1),
                       .prefix = int64_t(session.tokenizer.prefix_ids().size()),
                       .suffix = int64_t(suffix.size())};
    Json out = Json::object();
    out.set("model", options.model);
    eval::Perplexity result;
    if (options.baseline.empty()) {
      result = eval::perplexity(*session.model, session.weights, windows_NL, context, asked);
    } else {
      result = compare(options, session, windows_NL, asked, context, out);
    }
    out.set("predicts", masked ? "masked tokens" : "next tokens");
    out.set("perplexity", result.perplexity());
    out.set("nll", result.nll());
    out.set("tokens", result.tokens);
    out.set("windows", windows_NL.size(0));
    out.set("window", options.window);
    out.set("seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    out.set("peak_rss_bytes", peak_rss_bytes());
    return out;
  });
}

}  // namespace swage
