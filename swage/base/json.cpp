#include "swage/base/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "swage/base/error.h"

namespace swage {
namespace {

const char* type_name(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_bool()) return "a boolean";
  if (value.is_int()) return "an integer";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a string";
  return value.is_array() ? "an array" : "an object";
}

// Builds a Json from nlohmann's parser events, so that depth and duplicate keys are checked before anything grows.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(std::string_view source, const JsonLimits& limits) : source_(source), limits_(limits) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(Json(value)); }
  bool number_integer(number_integer_t value) override { return add(Json(int64_t{value})); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > uint64_t(std::numeric_limits<int64_t>::max())) fail("an integer does not fit in 64 bits");
    return add(Json(int64_t(value)));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    // nlohmann falls back to a float for integers that do not fit.
    if (text.find_first_of(".eE") == std::string::npos) fail("an integer does not fit in 64 bits");
    return add(Json(double(value)));
  }
  bool string(string_t& value) override { return add(Json(std::move(value))); }
  bool binary(binary_t&) override { throw Error(ErrorKind::Internal, "JSON text has no binary data"); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    if (!stack_.back().keys.insert(value).second) fail(cat("key \"", value, "\" appears twice"));
    stack_.back().key = std::move(value);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    fail(cat("not valid JSON at byte ", position, ": ", error.what()));
  }

 private:
  struct Level {
    Json value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  [[noreturn]] void fail(const std::string& why) const { throw Error(ErrorKind::CorruptData, cat(source_, ": ", why)); }

  bool add(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return true;
    }
    Level& top = stack_.back();
    if (top.value.is_array()) {
      top.value.as_array().push_back(std::move(value));
    } else {
      top.value.as_object().emplace_back(std::move(top.key), std::move(value));
    }
    return true;
  }
  bool open(Json value) {
    if (int(stack_.size()) >= limits_.max_depth) fail(cat("nested deeper than ", limits_.max_depth, " levels"));
    stack_.push_back({std::move(value), {}, {}});
    return true;
  }
  bool close() {
    Json value = std::move(stack_.back().value);
    stack_.pop_back();
    return add(std::move(value));
  }

  std::string source_;
  JsonLimits limits_;
  std::vector<Level> stack_;
  Json root_;
};

void write_string(const std::string& text, std::string& out) {
  // Invalid UTF-8 becomes U+FFFD: the text may come from a file that swage only reports on.
  out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void write_double(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";  // JSON has no NaN
    return;
  }
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
  std::string_view text(buffer, size_t(end.ptr - buffer));
  out += text;
  if (text.find_first_of(".en") == std::string_view::npos) out += ".0";
}

void new_line(int indent, int level, std::string& out) {
  if (indent < 0) return;
  out += '\n';
  out.append(size_t(indent) * size_t(level), ' ');
}

void write(const Json& value, int indent, int level, std::string& out) {
  if (value.is_null()) {
    out += "null";
  } else if (value.is_bool()) {
    out += value.as_bool() ? "true" : "false";
  } else if (value.is_int()) {
    out += std::to_string(value.as_int());
  } else if (value.is_number()) {
    write_double(value.as_double(), out);
  } else if (value.is_string()) {
    write_string(value.as_string(), out);
  } else if (value.is_array()) {
    const auto& items = value.as_array();
    out += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += ',';
      new_line(indent, level + 1, out);
      write(items[i], indent, level + 1, out);
    }
    if (!items.empty()) new_line(indent, level, out);
    out += ']';
  } else {
    const auto& members = value.as_object();
    out += '{';
    for (size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out += ',';
      new_line(indent, level + 1, out);
      write_string(members[i].first, out);
      out += indent < 0 ? ":" : ": ";
      write(members[i].second, indent, level + 1, out);
    }
    if (!members.empty()) new_line(indent, level, out);
    out += '}';
  }
}

template <class F>
auto with_key(std::string_view key, F read) {
  try {
    return read();
  } catch (Error& e) {
    e.add_context(cat("\"", key, "\""));
    throw;
  }
}

}  // namespace

Json::Json(uint64_t value) : value_(int64_t(value)) {
  SWAGE_CHECK(value <= uint64_t(std::numeric_limits<int64_t>::max()), InvalidArgument, value, " does not fit in JSON's 64 bits");
}

bool Json::as_bool() const {
  SWAGE_CHECK(is_bool(), CorruptData, "expected a boolean, found ", type_name(*this));
  return std::get<bool>(value_);
}

int64_t Json::as_int() const {
  SWAGE_CHECK(is_int(), CorruptData, "expected an integer, found ", type_name(*this));
  return std::get<int64_t>(value_);
}

double Json::as_double() const {
  SWAGE_CHECK(is_number(), CorruptData, "expected a number, found ", type_name(*this));
  return is_int() ? double(std::get<int64_t>(value_)) : std::get<double>(value_);
}

const std::string& Json::as_string() const {
  SWAGE_CHECK(is_string(), CorruptData, "expected a string, found ", type_name(*this));
  return std::get<std::string>(value_);
}

const Json::Array& Json::as_array() const {
  SWAGE_CHECK(is_array(), CorruptData, "expected an array, found ", type_name(*this));
  return std::get<Array>(value_);
}

const Json::Object& Json::as_object() const {
  SWAGE_CHECK(is_object(), CorruptData, "expected an object, found ", type_name(*this));
  return std::get<Object>(value_);
}

Json::Array& Json::as_array() { return const_cast<Array&>(std::as_const(*this).as_array()); }
Json::Object& Json::as_object() { return const_cast<Object&>(std::as_const(*this).as_object()); }

const Json* Json::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  for (const auto& [name, value] : std::get<Object>(value_)) {
    if (name == key) return &value;
  }
  return nullptr;
}

const Json& Json::at(std::string_view key) const {
  as_object();
  const Json* found = find(key);
  SWAGE_CHECK(found != nullptr, CorruptData, "\"", key, "\" is missing");
  return *found;
}

Json& Json::set(std::string_view key, Json value) {
  if (is_null()) value_ = Object{};
  for (auto& [name, old] : as_object()) {
    if (name == key) return old = std::move(value);
  }
  as_object().emplace_back(std::string(key), std::move(value));
  return as_object().back().second;
}

void Json::push_back(Json value) {
  if (is_null()) value_ = Array{};
  as_array().push_back(std::move(value));
}

bool Json::get_bool(std::string_view key, bool fallback) const {
  const Json* found = find(key);
  if (found == nullptr || found->is_null()) return fallback;
  return with_key(key, [&] { return found->as_bool(); });
}

int64_t Json::get_int(std::string_view key, int64_t fallback) const {
  const Json* found = find(key);
  if (found == nullptr || found->is_null()) return fallback;
  return with_key(key, [&] { return found->as_int(); });
}

double Json::get_double(std::string_view key, double fallback) const {
  const Json* found = find(key);
  if (found == nullptr || found->is_null()) return fallback;
  return with_key(key, [&] { return found->as_double(); });
}

std::string Json::get_string(std::string_view key, std::string_view fallback) const {
  const Json* found = find(key);
  if (found == nullptr || found->is_null()) return std::string(fallback);
  return with_key(key, [&] { return found->as_string(); });
}

Json Json::sorted() const {
  if (is_array()) {
    Array out;
    for (const Json& item : as_array()) out.push_back(item.sorted());
    return Json(std::move(out));
  }
  if (!is_object()) return *this;
  Object out;
  for (const auto& [name, value] : as_object()) out.emplace_back(name, value.sorted());
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return Json(std::move(out));
}

std::string Json::dump(int indent) const {
  std::string out;
  write(*this, indent, 0, out);
  return out;
}

Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits) {
  // The parser underneath would take it for the end of the text.
  SWAGE_CHECK(text.find('\0') == std::string_view::npos, CorruptData, source, ": holds a NUL byte");
  Builder builder(source, limits);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace swage
