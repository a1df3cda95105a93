// Written out here because no JSON library at hand reads what Python's json module writes: one that takes NaN and
// numbers of any size with their spelling refuses half a surrogate pair, and most take neither.
#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <vector>

#include "swage/base/error.h"
#include "swage/base/json.h"
#include "swage/base/printable.h"
#include "swage/base/utf8.h"

namespace swage {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The places of members whose key comes again later on.
std::vector<size_t> doubled(const Json::Object& members) {
  std::vector<size_t> out;
  const auto less = [&](size_t a, size_t b) { return members[a].first < members[b].first; };
  std::vector<size_t> order(members.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (!std::is_sorted(order.begin(), order.end(), less)) std::stable_sort(order.begin(), order.end(), less);
  for (size_t i = 0; i + 1 < order.size(); ++i) {
    if (members[order[i]].first == members[order[i + 1]].first) out.push_back(order[i]);
  }
  return out;
}

// A key that comes again keeps its first place and gets its last value, as in Python's dict.
void let_the_last_count(Json::Object& members) {
  std::vector<size_t> order(members.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return members[a].first < members[b].first; });
  std::vector<bool> stays(members.size(), true);
  for (size_t first = 0, end; first < order.size(); first = end) {
    for (end = first + 1; end < order.size() && members[order[end]].first == members[order[first]].first; ++end)
      stays[order[end]] = false;
    if (end - first > 1) members[order[first]].second = std::move(members[order[end - 1]].second);
  }
  Json::Object kept;
  for (size_t i = 0; i < members.size(); ++i) {
    if (stays[i]) kept.push_back(std::move(members[i]));
  }
  members = std::move(kept);
}

void append_utf8(unsigned value, std::string& out) {
  if (value < 0x80) {
    out += char(value);
  } else if (value < 0x800) {
    out.append({char(0xC0 | value >> 6), char(0x80 | (value & 0x3F))});
  } else if (value < 0x10000) {  // halves of surrogate pairs too
    out.append({char(0xE0 | value >> 12), char(0x80 | (value >> 6 & 0x3F)), char(0x80 | (value & 0x3F))});
  } else {
    out.append({char(0xF0 | value >> 18), char(0x80 | (value >> 12 & 0x3F)), char(0x80 | (value >> 6 & 0x3F)),
                char(0x80 | (value & 0x3F))});
  }
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view source, const JsonLimits& limits)
      : text_(text),
        source_(source),
        limits_(limits) {}

  Json parse() {
    check_bytes();
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
    Json out = value();
    skip_space();
    if (at_ < text_.size()) fail("expected the end of the text");
    return out;
  }

 private:
  void check_bytes() {
    // Other readers take it for the end of the text.
    SWAGE_CHECK(text_.find('\0') == std::string_view::npos, CorruptData, source_, ": holds a NUL byte");
    at_ = valid_utf8_prefix(text_);
    if (at_ < text_.size()) fail("expected UTF-8");
    at_ = 0;
  }

  [[noreturn]] void fail(std::string_view expected) const {
    const std::string_view before = text_.substr(0, at_);
    const size_t line_start = before.rfind('\n') + 1;
    const std::string found = at_ < text_.size() ? cat("\"", one_line(text_.substr(at_, 1), 4), "\"") : "the end";
    throw Error(ErrorKind::CorruptData, cat(source_, ": not valid JSON at byte ", at_, " (line ",
                                            1 + std::count(before.begin(), before.end(), '\n'), ", column ",
                                            at_ - line_start + 1, "): ", expected, ", found ", found));
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }

  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Json value() {
    skip_space();
    SWAGE_CHECK(++values_ <= limits_.max_values, CorruptData, source_, ": more than ", limits_.max_values, " values");
    const char c = peek();
    if (c == '{') return object();
    if (c == '[') return array();
    if (c == '"') return Json(string());
    if (take("null")) return Json();
    if (take("true")) return Json(true);
    if (take("false")) return Json(false);
    return number();
  }

  void go_deeper() {
    ++at_;
    SWAGE_CHECK(++depth_ <= limits_.max_depth, CorruptData, source_, ": nested deeper than ", limits_.max_depth,
                " levels");
    skip_space();
  }

  // After a value: whether another one follows. Takes the comma or the closing bracket.
  bool goes_on(char closing, std::string_view expected) {
    skip_space();
    if (peek() != ',' && peek() != closing) fail(expected);
    const bool more = text_[at_++] == ',';
    skip_space();
    return more;
  }

  Json array() {
    go_deeper();
    Json::Array items;
    bool more = !take("]");
    while (more) {
      items.push_back(value());
      more = goes_on(']', "expected \",\" or \"]\"");
    }
    --depth_;
    return Json(std::move(items));
  }

  Json object() {
    go_deeper();
    Json::Object members;
    bool more = !take("}");
    while (more) {
      if (peek() != '"') fail("expected a key in double quotes");
      std::string key = string();
      if (depth_ == 1) outermost_ = key;
      skip_space();
      if (!take(":")) fail("expected \":\"");
      Json member = value();
      members.emplace_back(std::move(key), std::move(member));
      more = goes_on('}', "expected \",\" or \"}\"");
    }
    --depth_;
    const std::vector<size_t> again = doubled(members);
    if (again.empty()) return Json(std::move(members));
    for (size_t i = 0; limits_.on_doubled_key && i < again.size(); ++i)
      limits_.on_doubled_key(depth_ > 0 ? outermost_ : "", members[again[i]].first);
    let_the_last_count(members);
    return Json(std::move(members));
  }

  std::string string() {
    std::string out;
    ++at_;
    while (true) {
      const size_t start = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' && uint8_t(text_[at_]) >= 0x20) ++at_;
      out.append(text_.substr(start, at_ - start));
      if (take("\"")) return out;
      if (peek() != '\\') fail("expected a closing quote, and control characters as escapes");
      ++at_;
      escape(out);
    }
  }

  void escape(std::string& out) {
    constexpr std::string_view kLetters = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    if (take("u")) return unicode_escape(out);
    const size_t known = at_ < text_.size() ? kLetters.find(text_[at_]) : std::string_view::npos;
    if (known == std::string_view::npos) fail("expected an escape that JSON has");
    out += kMeant[known];
    ++at_;
  }

  void unicode_escape(std::string& out) {
    unsigned value = four_digits();
    const bool high = value >= 0xD800 && value < 0xDC00;
    if (high && text_.substr(at_, 2) == "\\u") {
      const size_t back = at_;
      at_ += 2;
      const unsigned low = four_digits();
      if (low >= 0xDC00 && low < 0xE000)
        value = 0x10000 + ((value - 0xD800) << 10 | (low - 0xDC00));
      else
        at_ = back;
    }
    append_utf8(value, out);
  }

  unsigned four_digits() {
    unsigned value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = peek(), letter = char(c | 0x20);
      if (!is_digit(c) && (letter < 'a' || letter > 'f')) fail("expected four hexadecimal digits");
      value = value << 4 | unsigned(is_digit(c) ? c - '0' : letter - 'a' + 10);
    }
    return value;
  }

  void digits() {
    if (!is_digit(peek())) fail("expected a digit");
    while (is_digit(peek())) ++at_;
  }

  Json number() {
    const size_t start = at_;
    if (take("NaN") || take("Infinity") || take("-Infinity")) return Json::number(text_.substr(start, at_ - start));
    const bool negative = take("-");
    if (!is_digit(peek())) fail(negative ? "expected a digit" : "expected a value");
    if (!take("0")) digits();
    if (take(".")) digits();
    if (take("e") || take("E")) {
      if (!take("+")) take("-");
      digits();
    }
    return Json::number(text_.substr(start, at_ - start));
  }

  const std::string_view text_;
  const std::string source_;
  const JsonLimits& limits_;
  size_t at_ = 0;
  int depth_ = 0;
  int64_t values_ = 0;
  std::string outermost_;  // key of the object that everything is in
};

}  // namespace

Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits) {
  return Parser(text, source, limits).parse();
}

}  // namespace swage
