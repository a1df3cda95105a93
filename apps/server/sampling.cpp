#include "apps/server/sampling.h"

#include <charconv>
#include <chrono>
#include <limits>
#include <random>

namespace swage::server {
namespace {

constexpr double kNoEnd = std::numeric_limits<double>::infinity();
constexpr int64_t kNoEndOfIntegers = std::numeric_limits<int64_t>::max();

void read_bias(Fields& fields, runtime::SamplingOptions& sampling) {
  const Json* bias = fields.find("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object()) throw fields.wrong("logit_bias", "expected an object of token ids with numbers");
  for (const auto& [name, value] : bias->as_object()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc() || end != name.data() + name.size() || id < 0)
      throw fields.wrong("logit_bias", cat("\"", name.substr(0, 40), "\" is no token id"));
    if (!value.is_number() || !(value.as_double() >= -100 && value.as_double() <= 100))
      throw fields.wrong("logit_bias", cat("of token ", id, ": expected a number from -100 to 100"));
    sampling.logit_bias[id] = value.as_double();
  }
}

void read_distribution(Fields& fields, runtime::SamplingOptions& sampling) {
  sampling.temperature = fields.number("temperature", 1, {0, 2});
  sampling.top_p = fields.number("top_p", 1, {0, 1, true});
  sampling.top_k = std::max<int64_t>(0, fields.integer("top_k", 0, -1, kNoEndOfIntegers));
  sampling.min_p = fields.number("min_p", 0, {0, 1});
  sampling.typical_p = fields.number("typical_p", 1, {0, 1, true});
  sampling.repetition_penalty = fields.number("repetition_penalty", 1, {0, kNoEnd, true});
  sampling.presence_penalty = fields.number("presence_penalty", 0, {-2, 2});
  sampling.frequency_penalty = fields.number("frequency_penalty", 0, {-2, 2});
  sampling.seed = fields.seed().value_or(random_seed());
  read_bias(fields, sampling);
}

}  // namespace

void check_model(Fields& fields, const Service& service) {
  const std::string name = fields.text("model", service.model.id);
  // What TGI's client says where it was given an address and no name.
  const bool is_any = name.empty() || name == "tgi" || name == "dummy";
  if (!is_any && name != service.model.id)
    throw not_found(
        cat("the model \"", name.substr(0, 100), "\" is not served here; there is \"", service.model.id, "\""),
        "model_not_found");
}

runtime::Request read_sampling(Fields& fields, const Service& service) {
  runtime::Request out;
  read_distribution(fields, out.sampling);
  out.stops = fields.texts("stop", size_t(service.limits.max_stop_strings));
  for (const std::string& stop : out.stops) {
    if (stop.empty()) throw fields.wrong("stop", "an empty string");
  }
  out.choices = fields.integer("n", 1, 1, service.limits.max_choices);
  out.ignore_end = fields.flag("ignore_eos", false);
  out.min_new_tokens = fields.integer("min_tokens", 0, 0, kNoEndOfIntegers);
  return out;
}

void check_prompt(const std::vector<int64_t>& prompt, const Service& service) {
  const auto tokens = int64_t(prompt.size());
  if (tokens == 0) throw bad_field("prompt", "has no tokens");
  const int64_t cap = service.limits.max_prompt_tokens;
  const int64_t most = cap > 0 ? std::min(cap, service.model.context - 1) : service.model.context - 1;
  if (tokens <= most) return;
  throw ApiError(400, "invalid_request_error",
                 cat("the prompt has ", tokens, " tokens, more than the ", most, " that fit the context of ",
                     service.model.context, " tokens"),
                 "prompt", "context_length_exceeded");
}

net::HttpHeaders ignored_header(Fields& fields) {
  fields.ignore({"user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"});
  std::string names;
  for (const std::string& name : fields.unknown()) {
    bool is_plain = name.size() <= 64;
    for (const char c : name)
      is_plain = is_plain && (std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-');
    if (is_plain && names.size() < 1000) names += (names.empty() ? "" : ", ") + name;
  }
  if (names.empty()) return {};
  return {{"x-ignored-fields", names}};
}

uint64_t random_seed() {
  thread_local std::random_device device;
  return (uint64_t{device()} << 32 | device()) >> 1;  // 63 bits: what JSON's readers take
}

std::string new_id(const std::string& prefix) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string out = prefix;
  for (int part = 0; part < 2; ++part) {
    uint64_t bits = random_seed();
    for (int digit = 0; digit < 12; ++digit, bits >>= 4) out += kDigits[bits & 15];
  }
  return out;
}

int64_t now_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

const char* finish_reason(runtime::Finish finish) { return finish == runtime::Finish::Length ? "length" : "stop"; }

StreamForm read_stream(Fields& fields) {
  StreamForm out;
  out.is_on = fields.flag("stream", false);
  if (const Json* options = fields.find("stream_options")) {
    if (!out.is_on) throw fields.wrong("stream_options", "only with stream");
    Fields inner(*options, "stream_options.");
    out.usage = inner.flag("include_usage", false);
  }
  return out;
}

}  // namespace swage::server
