#include <chrono>

#include "swage/api/guard.h"
#include "swage/api/model_session.h"
#include "swage/data/dataset.h"
#include "swage/eval/perplexity.h"
#include "swage/base/memory.h"

namespace swage {

Json evaluate(const EvaluateOptions& options, const Context& context) {
  return api::guard(context, [&] {
    const auto start = std::chrono::steady_clock::now();
    SWAGE_CHECK(options.window >= 2, InvalidArgument, "window ", options.window, ": expected at least 2 tokens");
    const api::ModelSession session(options.model, options.hub, context);
    const int64_t positions = session.model->max_positions();
    SWAGE_CHECK(positions == 0 || options.window <= positions, InvalidArgument, "window ", options.window, ": the model takes ", positions, " tokens");
    const data::Documents documents = data::read_documents(options.data.file, session.tokenizer, {.text_column = options.data.text_column});
    const at::Tensor windows_NL = data::make_windows(documents, session.tokenizer, {.window = options.window, .max_windows = options.max_windows});
    const eval::Perplexity result = eval::perplexity(*session.model, session.weights, windows_NL, context);
    Json out = Json::object();
    out.set("model", options.model);
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
