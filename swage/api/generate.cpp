#include "swage/generation/generate.h"

#include "swage/api/guard.h"
#include "swage/api/model_session.h"

namespace swage {
namespace {

std::vector<int64_t> prompt_ids(const GenerateOptions& options, const data::Tokenizer& tokenizer) {
  if (!options.chat || !tokenizer.has_chat_template()) return tokenizer.encode(options.prompt, true);
  const auto message = [](const char* role, const std::string& content) {
    Json out = Json::object();
    out.set("role", role);
    out.set("content", content);
    return out;
  };
  Json messages = Json::array();
  if (!options.system.empty()) messages.push_back(message("system", options.system));
  messages.push_back(message("user", options.prompt));
  return tokenizer.encode(tokenizer.apply_chat_template(messages, true), false);
}

}  // namespace

Json generate(const GenerateOptions& options, const Context& context,
              const std::function<void(const std::string&)>& emit) {
  return api::guard(context, [&] {
    SWAGE_CHECK(options.temperature >= 0, InvalidArgument, "temperature ", options.temperature, ": expected 0 or more");
    SWAGE_CHECK(options.top_p > 0 && options.top_p <= 1, InvalidArgument, "top-p ", options.top_p,
                ": expected a number above 0, up to 1");
    SWAGE_CHECK(options.max_new_tokens > 0, InvalidArgument, "max-new-tokens ", options.max_new_tokens,
                ": expected 1 or more");
    const api::ModelSession session(options.model, options.hub, context, format::KeptForm::All);
    generation::Generator generator(*session.model, session.weights, context);
    generation::GenerationOptions how;
    how.max_new_tokens = options.max_new_tokens;
    how.sampling = {options.temperature, options.top_p};
    const generation::Generation result =
        generator.run(prompt_ids(options, session.tokenizer), session.tokenizer, how, emit);
    Json out = Json::object();
    out.set("text", result.text);
    out.set("tokens", int64_t(result.ids.size()));
    out.set("stopped", result.reached_end ? "end token" : "length");
    out.set("prefill_seconds", result.prefill_seconds);
    out.set("decode_seconds", result.decode_seconds);
    if (result.decode_seconds > 0) out.set("tokens_per_second", double(result.ids.size()) / result.decode_seconds);
    return out;
  });
}

}  // namespace swage
