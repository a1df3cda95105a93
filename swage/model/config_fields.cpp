#include "swage/model/config_fields.h"

#include <cmath>
#include <limits>
#include <utility>

#include "swage/base/error.h"
#include "swage/model/config_defaults.h"
#include "swage/model/rope.h"

namespace swage::model {

using graph::Activation, graph::RopeKind, graph::RopeSpec;

namespace {

RopeKind rope_kind(const std::string& name) {
  const std::pair<const char*, RopeKind> kinds[] = {
      {"default", RopeKind::Default},   {"linear", RopeKind::Linear},
      {"dynamic", RopeKind::Dynamic},   {"llama3", RopeKind::Llama3},
      {"mrope", RopeKind::Default},     {"yarn", RopeKind::Yarn},
      {"longrope", RopeKind::LongRope}, {"proportional", RopeKind::Proportional},
      {"su", RopeKind::LongRope}};  // as Phi-3's first configs call it
  for (const auto& [known, kind] : kinds) {
    if (name == known) return kind;
  }
  throw Error(ErrorKind::Unsupported,
              cat("config.json: rope type \"", name,
                  "\" is not supported; known: default, linear, dynamic, llama3, yarn, longrope, proportional"));
}

void read_llama3(const ConfigFields& scaling, RopeSpec& rope) {
  rope.low_freq_factor = scaling.positive_or("low_freq_factor", 1);
  rope.high_freq_factor = scaling.positive_or("high_freq_factor", 4);
  SWAGE_CHECK(rope.high_freq_factor > rope.low_freq_factor, CorruptData, "config.json: rope high_freq_factor ",
              rope.high_freq_factor, " is not above low_freq_factor ", rope.low_freq_factor);
}

void read_yarn(const ConfigFields& scaling, RopeSpec& rope) {
  rope.beta_fast = scaling.positive_or("beta_fast", 32);
  rope.beta_slow = scaling.positive_or("beta_slow", 1);
  rope.truncate = scaling.flag_or("truncate", true);
  const Json& json = scaling.json();
  const double implied =
      yarn_attention_factor(rope.factor, json.get_double("mscale", 0), json.get_double("mscale_all_dim", 0));
  rope.attention_factor = scaling.positive_or("attention_factor", implied);
}

// Two lists of divisors, and what cos and sin are multiplied with: one number, or one for each list.
void read_longrope(const ConfigFields& scaling, RopeSpec& rope) {
  rope.short_factors = scaling.positives("short_factor", rope.size / 2);
  rope.long_factors = scaling.positives("long_factor", rope.size / 2);
  const double extended = rope.max_positions > 0 ? double(rope.max_positions) / double(rope.original_positions)
                                                 : scaling.positive_or("factor", 1);
  const double implied =
      extended <= 1 ? 1 : std::sqrt(1 + std::log(extended) / std::log(double(rope.original_positions)));
  const double both = scaling.positive_or("attention_factor", implied);
  rope.attention_factor = scaling.positive_or("short_mscale", both);
  rope.long_attention_factor = scaling.positive_or("long_mscale", both);
}

void read_scaling(const ConfigFields& config, const ConfigFields& scaling, RopeSpec& rope) {
  const std::string type = scaling.text_or("rope_type", scaling.text_or("type", "default"));
  rope.kind = rope_kind(type);
  if (rope.kind == RopeKind::Default) return;
  if (rope.kind == RopeKind::Proportional) {
    rope.share = scaling.positive_or("partial_rotary_factor", 1);
    rope.factor = scaling.positive_or("factor", 1);
    return;
  }
  rope.factor = scaling.positive_or("factor", rope.kind == RopeKind::LongRope ? 1 : 0);
  SWAGE_CHECK(rope.factor > 0, CorruptData, "config.json: rope type \"", type, "\" without a factor");
  const int64_t most = int64_t{1} << 40;
  rope.max_positions = config.size_or("max_position_embeddings", 0, most);
  rope.original_positions = scaling.size_or("original_max_position_embeddings", rope.max_positions, most);
  rope.original_positions = config.size_or("original_max_position_embeddings", rope.original_positions, most);
  SWAGE_CHECK(rope.original_positions > 0, CorruptData, "config.json: rope type \"", type,
              "\" needs max_position_embeddings");
  if (rope.kind == RopeKind::Llama3) read_llama3(scaling, rope);
  if (rope.kind == RopeKind::Yarn) read_yarn(scaling, rope);
  if (rope.kind == RopeKind::LongRope) read_longrope(scaling, rope);
}

int64_t checked_size(std::string_view key, const Json& value, int64_t most) {
  SWAGE_CHECK(value.is_int() && value.as_int() >= 1 && value.as_int() <= most, CorruptData, "config.json: ", key,
              " must be a whole number from 1 to ", most, ", not ", value.dump());
  return value.as_int();
}

}  // namespace

ConfigFields::ConfigFields(const Json& config) : config_(config), usual_(nullptr) {
  SWAGE_CHECK(config.is_object(), CorruptData, "config.json: not an object");
  const Json* type = config.find("model_type");
  if (type != nullptr && type->is_string()) usual_ = config_defaults(type->as_string());
}

const Json* ConfigFields::find(std::string_view key) const {
  if (const Json* found = config_.find(key)) return found;
  return usual_ == nullptr ? nullptr : usual_value(*usual_, config_, key);
}

int64_t ConfigFields::size(std::string_view key, int64_t most) const {
  const Json* found = config_.find(key);
  SWAGE_CHECK(found && !found->is_null(), CorruptData, "config.json: ", key, " is missing");
  return checked_size(key, *found, most);
}

int64_t ConfigFields::size_or(std::string_view key, int64_t fallback, int64_t most) const {
  const Json* found = find(key);
  return found && !found->is_null() ? checked_size(key, *found, most) : fallback;
}

int64_t ConfigFields::whole_or(std::string_view key, int64_t fallback) const {
  const Json* found = find(key);
  if (!found || found->is_null()) return fallback;
  SWAGE_CHECK(found->is_int(), CorruptData, "config.json: ", key, " must be a whole number, not ", found->dump());
  return found->as_int();
}

namespace {

// NaN for numbers that no double holds (Python's json writes Infinity and 1e999), which as_double refuses without the
// field's name.
double number_of(const Json& value) {
  try {
    return value.as_double();
  } catch (const Error&) {
    return std::numeric_limits<double>::quiet_NaN();
  }
}

bool is_positive(const Json& value) {
  return value.is_number() && std::isfinite(number_of(value)) && number_of(value) > 0;
}

}  // namespace

double ConfigFields::positive_or(std::string_view key, double fallback) const {
  const Json* found = find(key);
  if (!found || found->is_null()) return fallback;
  SWAGE_CHECK(is_positive(*found), CorruptData, "config.json: ", key, " must be a number above zero, not ",
              found->dump());
  return found->as_double();
}

bool ConfigFields::flag_or(std::string_view key, bool fallback) const {
  const Json* found = find(key);
  if (!found || found->is_null()) return fallback;
  SWAGE_CHECK(found->is_bool(), CorruptData, "config.json: ", key, " must be true or false, not ", found->dump());
  return found->as_bool();
}

std::string ConfigFields::text_or(std::string_view key, std::string_view fallback) const {
  const Json* found = find(key);
  if (!found || found->is_null()) return std::string(fallback);
  SWAGE_CHECK(found->is_string(), CorruptData, "config.json: ", key, " must be a string, not ", found->dump());
  return found->as_string();
}

std::vector<std::string> ConfigFields::texts(std::string_view key, int64_t count) const {
  const Json* found = config_.find(key);
  if (!found || found->is_null()) return {};
  SWAGE_CHECK(found->is_array() && static_cast<int64_t>(found->as_array().size()) == count, CorruptData,
              "config.json: ", key, " must be a list of ", count, " strings");
  std::vector<std::string> out;
  for (const Json& item : found->as_array()) {
    SWAGE_CHECK(item.is_string(), CorruptData, "config.json: ", key, " holds ", item.dump(), ", not a string");
    out.push_back(item.as_string());
  }
  return out;
}

std::vector<double> ConfigFields::positives(std::string_view key, int64_t count) const {
  const Json* found = config_.find(key);
  SWAGE_CHECK(found && found->is_array() && static_cast<int64_t>(found->as_array().size()) == count, CorruptData,
              "config.json: ", key, " must be a list of ", count, " numbers");
  std::vector<double> out;
  for (const Json& item : found->as_array()) {
    SWAGE_CHECK(is_positive(item), CorruptData, "config.json: ", key, " holds ", item.dump(),
                ", not a number above zero");
    out.push_back(item.as_double());
  }
  return out;
}

Activation ConfigFields::activation(std::string_view key, std::string_view fallback) const {
  const std::string name = text_or(key, fallback);
  const std::pair<const char*, Activation> known[] = {{"relu", Activation::Relu},
                                                      {"relu2", Activation::Relu2},
                                                      {"silu", Activation::Silu},
                                                      {"swish", Activation::Silu},
                                                      {"gelu", Activation::Gelu},
                                                      {"gelu_new", Activation::GeluTanh},
                                                      {"quick_gelu", Activation::QuickGelu},
                                                      {"xielu", Activation::Xielu},
                                                      {"tanh", Activation::Tanh},
                                                      {"gelu_fast", Activation::GeluTanh},
                                                      {"gelu_pytorch_tanh", Activation::GeluTanh}};
  for (const auto& [text, activation] : known) {
    if (name == text) return activation;
  }
  throw Error(ErrorKind::Unsupported, cat("config.json: ", key, " \"", name, "\" is not a supported activation"));
}

Json ConfigFields::renamed(std::initializer_list<std::pair<std::string_view, std::string_view>> names) const {
  Json out = config_;
  for (const auto& [theirs, ours] : names) {
    const Json* value = config_.find(ours) != nullptr ? config_.find(theirs) : find(theirs);
    if (value != nullptr) out.set(ours, *value);
  }
  return out;
}

void ConfigFields::require_number(std::string_view key, double only) const {
  const Json* found = config_.find(key);
  SWAGE_CHECK(!found || found->is_null() || (found->is_number() && number_of(*found) == only), Unsupported,
              "config.json: ", key, " ", found->dump(), " is not supported, only ", only);
}

namespace {

// Numbers of a head that turn.
int64_t turning(const ConfigFields& config, const ConfigFields* scaling, int64_t head_size, const RopeForm& form) {
  if (!form.partial) {
    config.require_number(form.partial_key, 1);
    if (scaling != nullptr) scaling->require_number("partial_rotary_factor", 1);
    return head_size;
  }
  double share = config.positive_or(form.partial_key, *form.partial);
  if (scaling != nullptr) share = scaling->positive_or("partial_rotary_factor", share);
  const int64_t size = static_cast<int64_t>(share * static_cast<double>(head_size));
  SWAGE_CHECK(share <= 1 && size > 0, CorruptData, "config.json: ", form.partial_key, " ", share, " of ", head_size,
              " elements (head_dim) leaves nothing to rotate, or too much");
  return size;
}

}  // namespace

const Json* rope_fields(const ConfigFields& config) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* found = config.json().find(key);
    if (!found || found->is_null()) continue;
    SWAGE_CHECK(found->is_object(), CorruptData, "config.json: ", key, " is not an object");
    return found;
  }
  const Json* usual = config.find("rope_parameters");
  return usual != nullptr && usual->is_object() ? usual : nullptr;
}

RopeSpec rope_of(const ConfigFields& config, int64_t head_size, double default_theta, const RopeForm& form) {
  const Json* found = rope_fields(config);
  std::optional<ConfigFields> scaling;
  if (found != nullptr) scaling.emplace(*found);
  const bool proportional = scaling && scaling->text_or("rope_type", "") == "proportional";
  const int64_t size = proportional ? head_size : turning(config, scaling ? &*scaling : nullptr, head_size, form);
  SWAGE_CHECK(size % 2 == 0, CorruptData, "config.json: heads of ", size,
              " elements (head_dim) cannot be rotated in pairs");
  RopeSpec rope{
      .size = size, .theta = config.positive_or(form.theta_key, default_theta), .interleaved = form.interleaved};
  if (scaling) {
    rope.theta = scaling->positive_or("rope_theta", rope.theta);
    read_scaling(config, *scaling, rope);
  }
  SWAGE_CHECK(rope.theta > 1, CorruptData, "config.json: ", form.theta_key, " ", rope.theta, " is not above 1");
  SWAGE_CHECK(rope.kind != RopeKind::Dynamic || size > 2, CorruptData,
              "config.json: dynamic rope needs head_dim above 2");
  return rope;
}

}  // namespace swage::model
