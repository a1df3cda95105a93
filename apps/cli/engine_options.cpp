#include "apps/cli/engine_options.h"

namespace swage::cli {
namespace {

constexpr const char* kSampling = "Sampling";
constexpr const char* kMemory = "Memory";

// Numbers above `least`, or from it on with `closed`, up to `most`.
CLI::Validator between(double least, double most, bool closed) {
  return {[=](std::string& text) {
            double value = 0;
            const bool number =
                CLI::detail::lexical_cast(text, value) && value <= most && (closed ? value >= least : value > least);
            return number
                       ? std::string()
                       : cat("\"", text, "\": expected a number ", closed ? "from " : "above ", least, " up to ", most);
          },
          ""};
}

template <class Value>
CLI::Option* add(CLI::App& command, const char* name, Value& value, const char* help, const char* group) {
  return command.add_option(name, value, help)->capture_default_str()->type_name("")->group(group);
}

}  // namespace

void add_sampling(CLI::App& command, runtime::Request& request) {
  runtime::SamplingOptions& s = request.sampling;
  add(command, "--max-new-tokens", request.max_new_tokens, "stop after so many", "Options")->check(at_least(1));
  command.add_option("--stop", request.stops, "text ends before this; may be given several times")
      ->type_name("TEXT")
      ->group(kSampling);
  add(command, "--temperature", s.temperature, "0: always the most likely token", kSampling)->check(at_least(0));
  add(command, "--top-k", s.top_k, "sample from so many most likely tokens; 0: from all", kSampling)
      ->check(at_least(0));
  add(command, "--top-p", s.top_p, "sample from the smallest set of tokens with this probability", kSampling)
      ->check(between(0, 1, false));
  add(command, "--min-p", s.min_p, "leave out tokens below this share of the most likely one's probability", kSampling)
      ->check(between(0, 1, true));
  add(command, "--typical-p", s.typical_p,
      "sample from the tokens nearest to the expected surprise, with this probability", kSampling)
      ->check(between(0, 1, false));
  add(command, "--repetition-penalty", s.repetition_penalty, "above 1: tokens of prompt and text become less likely",
      kSampling)
      ->check(between(0, 1e6, false));
  add(command, "--frequency-penalty", s.frequency_penalty, "taken from a token's logit each time that it came",
      kSampling)
      ->check(between(-2, 2, true));
  add(command, "--presence-penalty", s.presence_penalty, "taken from the logit of tokens that came", kSampling)
      ->check(between(-2, 2, true));
}

void add_engine(CLI::App& command, EngineOptions& engine) {
  command.add_option("--max-memory", engine.max_memory, "of the process: weights, cache and steps, planned beforehand")
      ->type_name("SIZE")
      ->group(kMemory);
  add(command, "--max-context", engine.max_context, "tokens of prompt and answer at most; 0: as the model takes",
      kMemory)
      ->check(at_least(0));
  add(command, "--cache-tokens", engine.cache_tokens,
      "that the cache holds of all answers; 0: by --max-memory, or as usual", kMemory)
      ->check(at_least(0));
  add(command, "--kv-cache-type", engine.kv_cache_type, "numbers of the cache: f32, f16 or bf16", kMemory)
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
}

}  // namespace swage::cli
