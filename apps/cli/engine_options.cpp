#include "apps/cli/engine_options.h"

#include "apps/cli/numbers.h"
#include "swage/base/error.h"
#include "swage/base/memory_budget.h"

namespace swage::cli {
namespace {

constexpr const char* kSampling = "Sampling";
constexpr const char* kMemory = "Memory";

template <class Value>
CLI::Option* add(CLI::App& command, const char* name, Value& value, const char* help, const char* group) {
  return command.add_option(name, value, help)->capture_default_str()->type_name("")->group(group);
}

}  // namespace

void add_sampling(CLI::App& command, runtime::Request& request) {
  runtime::SamplingOptions& s = request.sampling;
  add(command, "--max-new-tokens", request.max_new_tokens, "stop after so many", "Options")
      ->check(whole_number<int64_t>(1));
  command.add_option("--stop", request.stops, "text ends before this; may be given several times")
      ->type_name("TEXT")
      ->group(kSampling);
  add(command, "--temperature", s.temperature, "0: always the most likely token", kSampling)
      ->check(real_number({.least = 0}));
  add(command, "--top-k", s.top_k, "sample from so many most likely tokens; 0: from all", kSampling)
      ->check(whole_number<int64_t>(0));
  add(command, "--top-p", s.top_p, "sample from the smallest set of tokens with this probability", kSampling)
      ->check(real_number({.least = 0, .most = 1, .open = true}));
  add(command, "--min-p", s.min_p, "leave out tokens below this share of the most likely one's probability", kSampling)
      ->check(real_number({.least = 0, .most = 1}));
  add(command, "--typical-p", s.typical_p,
      "sample from the tokens nearest to the expected surprise, with this probability", kSampling)
      ->check(real_number({.least = 0, .most = 1, .open = true}));
  add(command, "--repetition-penalty", s.repetition_penalty, "above 1: tokens of prompt and text become less likely",
      kSampling)
      ->check(real_number({.least = 0, .most = 1e6, .open = true}));
  add(command, "--frequency-penalty", s.frequency_penalty, "taken from a token's logit each time that it came",
      kSampling)
      ->check(real_number({.least = -2, .most = 2}));
  add(command, "--presence-penalty", s.presence_penalty, "taken from the logit of tokens that came", kSampling)
      ->check(real_number({.least = -2, .most = 2}));
}

void add_engine(CLI::App& command, EngineOptions& engine) {
  command
      .add_option_function<std::string>(
          "--max-memory",
          [&engine](const std::string& text) {
            try {
              parse_memory_budget(text);
            } catch (Error& e) {
              e.add_context("--max-memory");
              throw;
            }
            engine.max_memory = text;
          },
          "of the process: weights, cache and steps, planned beforehand")
      ->type_name("SIZE")
      ->group(kMemory);
  add(command, "--max-context", engine.max_context, "tokens of prompt and answer at most; 0: as the model takes",
      kMemory)
      ->check(whole_number<int64_t>(0));
  add(command, "--cache-tokens", engine.cache_tokens,
      "that the cache holds of all answers; 0: by --max-memory, or as usual", kMemory)
      ->check(whole_number<int64_t>(0));
  add(command, "--kv-cache-type", engine.kv_cache_type, "numbers of the cache: f32, f16 or bf16", kMemory)
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
}

}  // namespace swage::cli
