#include "swage/base/json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "swage/base/error.h"
#include "swage/base/utf8.h"

namespace swage {
namespace {

// As Python's repr(): an exponent below 1e-4 and from 1e16 on.
std::string text_of(double value) {
  std::array<char, 40> buffer{};
  const auto digits = [&](std::chars_format format) {
    return std::string_view(
        buffer.data(),
        size_t(std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr - buffer.data()));
  };
  std::string text(digits(std::chars_format::scientific));
  const int exponent = std::atoi(text.c_str() + text.find('e') + 1);
  if (exponent < -4 || exponent >= 16) return text;
  text = digits(std::chars_format::fixed);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

bool is_surrogate(std::string_view text, size_t at) {
  return at + 2 < text.size() && uint8_t(text[at]) == 0xED && uint8_t(text[at + 1]) >= 0xA0;
}

bool holds_surrogate(std::string_view text) {
  for (size_t at = text.find('\xED'); at != std::string_view::npos; at = text.find('\xED', at + 1)) {
    if (is_surrogate(text, at)) return true;
  }
  return false;
}

void append_unicode_escape(unsigned value, std::string& out) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out += "\\u";
  for (const int shift : {12, 8, 4, 0}) out += kDigits[value >> shift & 15];
}

void write_control(char c, std::string& out) {
  constexpr std::string_view kControls = "\b\f\n\r\t", kLetters = "bfnrt";
  const size_t known = kControls.find(c);
  if (known == std::string_view::npos) return append_unicode_escape(uint8_t(c), out);
  out += '\\';
  out += kLetters[known];
}

// Bytes that are not UTF-8 become U+FFFD: the text may come from a file that swage only reports on.
void write_string(std::string_view text, std::string& out) {
  out += '"';
  size_t valid = valid_utf8_prefix(text);
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (i == valid) {
      const bool half = is_surrogate(text, i);
      if (half)
        append_unicode_escape(0xD000u | (uint8_t(text[i + 1]) & 0x3Fu) << 6 | (uint8_t(text[i + 2]) & 0x3Fu), out);
      else
        out += "\xEF\xBF\xBD";
      i += half ? 3 : 1;
      valid = i + valid_utf8_prefix(text.substr(i));
      continue;
    }
    if (c == '"' || c == '\\')
      out.append({'\\', c});
    else if (uint8_t(c) < 0x20)
      write_control(c, out);
    else
      out += c;
    ++i;
  }
  out += '"';
}

void new_line(int indent, int level, std::string& out) {
  if (indent < 0) return;
  out += '\n';
  out.append(size_t(indent) * size_t(level), ' ');
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
  SWAGE_CHECK(value <= uint64_t(std::numeric_limits<int64_t>::max()), InvalidArgument, value,
              " does not fit in JSON's 64 bits");
}

Json Json::number(std::string_view text) {
  const char *first = text.data(), *last = first + text.size();
  if (text.find_first_of(".eEN") == std::string_view::npos) {
    int64_t integer = 0;
    if (const auto [end, error] = std::from_chars(first, last, integer); error == std::errc() && end == last)
      return Json(integer);
  } else if (double value = 0; text.find('N') == std::string_view::npos) {
    const auto [end, error] = std::from_chars(first, last, value);
    if (error == std::errc() && end == last && std::isfinite(value) && text_of(value) == text) return Json(value);
  }
  Json out;
  out.value_ = Literal{std::string(text)};
  return out;
}

std::string Json::type_name() const {
  if (is_null()) return "null";
  if (is_bool()) return "a boolean";
  if (is_int()) return "an integer";
  if (is_string()) return "a string";
  if (is_array()) return "an array";
  if (is_object()) return "an object";
  const Literal* literal = std::get_if<Literal>(&value_);
  if (literal == nullptr) return "a number";
  if (literal->text.find_first_of("NI") != std::string::npos) return literal->text;
  if (literal->text.find_first_of(".eE") != std::string::npos) return "a number";
  return cat("an integer of ", literal->text.size(), " characters, which does not fit in 64 bits");
}

bool Json::as_bool() const {
  SWAGE_CHECK(is_bool(), CorruptData, "expected a boolean, found ", type_name());
  return std::get<bool>(value_);
}

int64_t Json::as_int() const {
  SWAGE_CHECK(is_int(), CorruptData, "expected an integer, found ", type_name());
  return std::get<int64_t>(value_);
}

double Json::as_double() const {
  SWAGE_CHECK(is_number(), CorruptData, "expected a number, found ", type_name());
  if (is_int()) return double(std::get<int64_t>(value_));
  const Literal* literal = std::get_if<Literal>(&value_);
  return literal == nullptr ? std::get<double>(value_) : value_of(*literal);
}

double Json::value_of(const Literal& literal) {
  const double value =
      std::strtod(literal.text.c_str(), nullptr);  // 0 for what is too small, as in Python; takes NaN and Infinity
  SWAGE_CHECK(std::isfinite(value), CorruptData, "expected a finite number, found ", literal.text.substr(0, 40));
  return value;
}

const std::string& Json::as_string() const {
  SWAGE_CHECK(is_string(), CorruptData, "expected a string, found ", type_name());
  const std::string& text = std::get<std::string>(value_);
  SWAGE_CHECK(!holds_surrogate(text), CorruptData,
              "expected a string of whole characters, found half a surrogate pair in it");
  return text;
}

const Json::Array& Json::as_array() const {
  SWAGE_CHECK(is_array(), CorruptData, "expected an array, found ", type_name());
  return std::get<Array>(value_);
}

const Json::Object& Json::as_object() const {
  SWAGE_CHECK(is_object(), CorruptData, "expected an object, found ", type_name());
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

void Json::erase(std::string_view key) {
  std::erase_if(as_object(), [key](const auto& member) { return member.first == key; });
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
  write(indent, 0, out);
  return out;
}

void Json::write(int indent, int level, std::string& out) const {
  if (is_null())
    out += "null";
  else if (is_bool())
    out += as_bool() ? "true" : "false";
  else if (is_int())
    out += std::to_string(as_int());
  else if (is_string())
    write_string(std::get<std::string>(value_), out);
  else if (const Literal* literal = std::get_if<Literal>(&value_))
    out += literal->text;
  else if (const double* value = std::get_if<double>(&value_))
    out += std::isfinite(*value) ? text_of(*value) : "null";  // strict readers know no NaN
  else if (is_array())
    write_array(indent, level, out);
  else
    write_object(indent, level, out);
}

void Json::write_array(int indent, int level, std::string& out) const {
  const Array& items = as_array();
  out += '[';
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ',';
    new_line(indent, level + 1, out);
    items[i].write(indent, level + 1, out);
  }
  if (!items.empty()) new_line(indent, level, out);
  out += ']';
}

void Json::write_object(int indent, int level, std::string& out) const {
  const Object& members = as_object();
  out += '{';
  for (size_t i = 0; i < members.size(); ++i) {
    if (i > 0) out += ',';
    new_line(indent, level + 1, out);
    write_string(members[i].first, out);
    out += indent < 0 ? ":" : ": ";
    members[i].second.write(indent, level + 1, out);
  }
  if (!members.empty()) new_line(indent, level, out);
  out += '}';
}

}  // namespace swage
