// A JSON value that keeps the order of object keys and the spelling of numbers: what is read and written back is what
// Python's json module, which writes most of these files, would have kept. Nesting is bounded, because every JSON text
// swage reads comes from outside.
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
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
  // A number as JSON spells it, or NaN, Infinity or -Infinity: dump() gives the same spelling.
  static Json number(std::string_view text);

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<int64_t>(value_); }  // of at most 64 bits
  bool is_number() const {
    return is_int() || std::holds_alternative<double>(value_) || std::holds_alternative<Literal>(value_);
  }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }

  // Value access; each throws Error(CorruptData) naming the type found when it is another one.
  bool as_bool() const;
  int64_t as_int() const;
  double as_double() const;              // integers too, of any size; NaN and what exceeds a double are refused
  const std::string& as_string() const;  // half a surrogate pair, which no text can hold, is refused
  const Array& as_array() const;
  const Object& as_object() const;
  Array& as_array();
  Object& as_object();

  // Member `key` of an object, or nullptr if it is absent (also when this is not an object).
  const Json* find(std::string_view key) const;
  // Member `key`; Error(CorruptData) naming the key if absent.
  const Json& at(std::string_view key) const;
  // Sets or replaces a member; turns null into an object. Looks at every member there is.
  Json& set(std::string_view key, Json value);
  // Removes a member, if it is there.
  void erase(std::string_view key);
  void push_back(Json value);

  // `fallback` where the member is absent or null; Error(CorruptData) naming the key when it has another type.
  bool get_bool(std::string_view key, bool fallback) const;
  int64_t get_int(std::string_view key, int64_t fallback) const;
  double get_double(std::string_view key, double fallback) const;
  std::string get_string(std::string_view key, std::string_view fallback) const;

  // Members of every object sorted by name, recursively (as Python's json.dump(sort_keys=True)).
  Json sorted() const;
  // indent < 0: one line without spaces; otherwise pretty. Doubles are printed as Python's repr() does,
  // shortest-round-trip.
  std::string dump(int indent = -1) const;

  bool operator==(const Json& other) const = default;

 private:
  // A number whose spelling dump() would not find by itself: an integer beyond 64 bits, "100000.00", "1E5", NaN.
  struct Literal {
    std::string text;
    bool operator==(const Literal& other) const = default;
  };
  std::string type_name() const;
  static double value_of(const Literal& literal);
  void write(int indent, int level, std::string& out) const;
  void write_array(int indent, int level, std::string& out) const;
  void write_object(int indent, int level, std::string& out) const;

  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object, Literal> value_;
};

struct JsonLimits {
  int max_depth = 100;
  int64_t max_values = std::numeric_limits<int64_t>::max();  // arrays, objects and what is in them
  // Called for a key that an object has twice, with the key of the outermost object below which that happens ("" for
  // itself). May throw.
  std::function<void(std::string_view outermost, std::string_view key)> on_doubled_key = {};
};

// Parses exactly one JSON text in UTF-8, as Python's json module does: numbers may have any size, NaN, Infinity and
// -Infinity are numbers, of a key that comes twice the last value counts, and half a surrogate pair may stand in a
// string. `source` names it in errors (a path). Error(CorruptData) on anything else: trailing text, nesting too deep,
// too many values.
Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits = {});

}  // namespace swage
