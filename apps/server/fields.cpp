#include "apps/server/fields.h"

#include <cmath>
#include <limits>

namespace swage::server {
namespace {

constexpr int64_t kMostValues = 2'000'000;  // of a body; each costs some 50 bytes

std::string ends_of(const Range& range) {
  const bool has_most = std::isfinite(range.most);
  return cat(range.open_least ? "above " : "from ", range.least,
             !has_most         ? std::string(" on")
             : range.open_most ? cat(" to below ", range.most)
                               : cat(" to ", range.most));
}

bool holds(const Range& range, double value) {
  return (range.open_least ? value > range.least : value >= range.least) &&
         (range.open_most ? value < range.most : value <= range.most);
}

}  // namespace

Fields::Fields(const Json& object, std::string prefix) : object_(object), prefix_(std::move(prefix)) {
  if (!object.is_object()) throw bad_field(prefix_, "expected an object");
}

ApiError Fields::wrong(const std::string& name, const std::string& what) const {
  return bad_field(prefix_ + name, what);
}

const Json* Fields::find(const std::string& name) {
  known_.insert(name);
  const Json* value = object_.find(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool Fields::flag(const std::string& name, bool fallback) {
  const Json* value = find(name);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) throw wrong(name, "expected true or false");
  return value->as_bool();
}

double Fields::number(const std::string& name, double fallback, const Range& range) {
  const Json* value = find(name);
  if (value == nullptr) return fallback;
  const double found = value->is_number() ? value->as_double() : std::numeric_limits<double>::quiet_NaN();
  if (!holds(range, found)) throw wrong(name, cat(value->dump().substr(0, 40), ", expected a number ", ends_of(range)));
  return found;
}

int64_t Fields::integer(const std::string& name, int64_t fallback, int64_t least, int64_t most) {
  const Json* value = find(name);
  if (value == nullptr) return fallback;
  if (!value->is_int() || value->as_int() < least || value->as_int() > most)
    throw wrong(name, cat(value->dump().substr(0, 40), ", expected an integer from ", least,
                          most == std::numeric_limits<int64_t>::max() ? std::string(" on") : cat(" to ", most)));
  return value->as_int();
}

std::string Fields::text(const std::string& name, const std::string& fallback) {
  const Json* value = find(name);
  if (value == nullptr) return fallback;
  if (!value->is_string()) throw wrong(name, "expected a string");
  return value->as_string();
}

std::vector<std::string> Fields::texts(const std::string& name, size_t most) {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->as_string()};
  if (!value->is_array()) throw wrong(name, "expected a string or a list of strings");
  if (value->as_array().size() > most)
    throw wrong(name, cat(value->as_array().size(), " strings, at most ", most, " are taken"));
  std::vector<std::string> out;
  for (const Json& one : value->as_array()) {
    if (!one.is_string()) throw wrong(name, "expected a list of strings");
    out.push_back(one.as_string());
  }
  return out;
}

std::optional<uint64_t> Fields::seed() {
  const Json* value = find("seed");
  if (value == nullptr) return {};
  if (!value->is_int()) throw wrong("seed", "expected an integer of 64 bits");
  return uint64_t(value->as_int());
}

void Fields::ignore(std::initializer_list<const char*> names) {
  for (const char* name : names) known_.insert(name);
}

std::vector<std::string> Fields::unknown() const {
  std::vector<std::string> out;
  for (const auto& [name, value] : object_.as_object()) {
    if (!known_.contains(name)) out.push_back(name);
  }
  return out;
}

Json parse_body(const std::string& body) {
  JsonLimits limits;
  limits.max_values = kMostValues;
  Json out;
  try {
    out = parse_json(body, "body", limits);
  } catch (const Error& e) {
    throw ApiError(400, "invalid_request_error", e.what(), {}, "invalid_json");
  }
  if (!out.is_object()) throw bad_field({}, "the body is not a JSON object");
  return out;
}

}  // namespace swage::server
