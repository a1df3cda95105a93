// A JSON value that keeps the order of object keys. Parsing is strict: nesting is bounded and duplicate keys are errors,
// because every JSON text swage reads comes from outside.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace swage {

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  Json() = default;
  Json(std::nullptr_t) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(int64_t{value}) {}
  Json(int64_t value) : value_(value) {}
  Json(uint64_t value);  // Error(InvalidArgument) above 2^63-1
  Json(double value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}
  static Json array() { return Json(Array{}); }
  static Json object() { return Json(Object{}); }

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<int64_t>(value_); }
  bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }

  // Value access; each throws Error(CorruptData) naming the type found when it is another one.
  bool as_bool() const;
  int64_t as_int() const;
  double as_double() const;  // integers too
  const std::string& as_string() const;
  const Array& as_array() const;
  const Object& as_object() const;
  Array& as_array();
  Object& as_object();

  // Member `key` of an object, or nullptr if it is absent (also when this is not an object).
  const Json* find(std::string_view key) const;
  // Member `key`; Error(CorruptData) naming the key if absent.
  const Json& at(std::string_view key) const;
  // Sets or replaces a member; turns null into an object.
  Json& set(std::string_view key, Json value);
  void push_back(Json value);

  // `fallback` where the member is absent or null; Error(CorruptData) naming the key when it has another type.
  bool get_bool(std::string_view key, bool fallback) const;
  int64_t get_int(std::string_view key, int64_t fallback) const;
  double get_double(std::string_view key, double fallback) const;
  std::string get_string(std::string_view key, std::string_view fallback) const;

  // Members of every object sorted by name, recursively (as Python's json.dump(sort_keys=True)).
  Json sorted() const;
  // indent < 0: one line without spaces; otherwise pretty. Doubles are printed shortest-round-trip.
  std::string dump(int indent = -1) const;

  bool operator==(const Json& other) const = default;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

struct JsonLimits {
  int max_depth = 100;
};

// Parses exactly one JSON text in UTF-8. `source` names it in errors (a path). Error(CorruptData) on anything else:
// trailing text, duplicate keys, nesting too deep, integers beyond 64 bits.
Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits = {});

}  // namespace swage
