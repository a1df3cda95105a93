#include "apps/cli/engine_options.h"

#include "apps/cli/numbers.h"
#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/base/memory_budget.h"

namespace swage::cli {
namespace {

constexpr const char* kSampling = "Sampling";
constexpr const char* kMemory = "Memory";
constexpr const char* kForm = "Form of the answer";

template <class Value>
CLI::Option* add(CLI::App& command, const char* name, Value& value, const char* help, const char* group) {
  return command.add_option(name, value, help)->capture_default_str()->type_name("")->group(group);
}

// What an option says itself, or the file that it names.
std::string text_or_file(const std::string& given) {
  const size_t first = given.find_first_not_of(" \t\r\n");
  const bool is_text = first != std::string::npos && (given[first] == '{' || given.find('\n') != std::string::npos);
  return is_text ? given : read_regular_file(given, kMaxConfigBytes);
}

void add_form(CLI::App& command, runtime::Grammar& grammar) {
  using Kind = runtime::Grammar::Kind;
  CLI::Option* json = command.add_flag_callback(
      "--json-object", [&grammar] { grammar = {Kind::JsonObject}; }, "the answer is a JSON object");
  CLI::Option* schema = command.add_option_function<std::string>(
      "--json-schema", [&grammar](const std::string& given) { grammar = {Kind::JsonSchema, text_or_file(given)}; },
      "a file with a JSON schema that the answer fits, or the schema itself");
  CLI::Option* regex = command.add_option_function<std::string>(
      "--regex", [&grammar](const std::string& given) { grammar = {Kind::Regex, given}; },
      "a regular expression that the whole answer matches");
  CLI::Option* rules = command.add_option_function<std::string>(
      "--grammar",
      [&grammar](const std::string& given) {
        grammar.text = text_or_file(given);
        grammar.kind = grammar.text.find("::=") != std::string::npos ? Kind::Gbnf : Kind::Lark;
      },
      "a file with a grammar, in llama.cpp's form (GBNF) or in llguidance's (Lark)");
  const std::vector<CLI::Option*> all = {json, schema, regex, rules};
  schema->type_name("FILE|TEXT"), regex->type_name("REGEX"), rules->type_name("FILE");
  for (CLI::Option* option : all) {
    option->group(kForm);
    for (CLI::Option* other : all) {
      if (other != option) option->excludes(other);
    }
  }
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
  add(command, "--draft-tokens", request.draft_tokens,
      "guess so many next tokens from what stands in the text already: the same text, sooner where it repeats itself",
      "Options")
      ->check(whole_number<int64_t>(0));
  add_form(command, request.grammar);
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
  add(command, "--kv-cache-type,--kv-cache-dtype", engine.kv_cache_type,
      "numbers of the cache: f32, f16, bf16, or int8 or fp8 with scales", kMemory)
      ->check(CLI::IsMember({"f32", "f16", "bf16", "int8", "fp8"}));
}

}  // namespace swage::cli
