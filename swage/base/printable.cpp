#include "swage/base/printable.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

#include "swage/base/utf8.h"

namespace swage {
namespace {

bool is_continuation(char byte) { return (uint8_t(byte) & 0xC0) == 0x80; }

void append_escape(const char* format, unsigned value, std::string& out) {
  std::array<char, 16> text{};
  out.append(text.data(), size_t(std::snprintf(text.data(), text.size(), format, value)));
}

// The character that begins at `text`, which is UTF-8, if it is to be shown as an escape; its bytes.
struct Escaped {
  unsigned value = 0;
  size_t bytes = 0;  // 0: shown as it is
};

Escaped escaped_at(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : 0u; };
  const unsigned first = byte(0);
  if ((first < 0x20 && first != '\n' && first != '\t') || first == 0x7F) return {first, 1};
  if (first == 0xC2 && byte(1) < 0xA0) return {byte(1), 2};  // C1: some terminals take them for ESC and a letter
  if (first == 0xE2) {                                       // U+200E..200F, U+2028..202E, U+2066..2069
    const unsigned value = 0x2000u | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    const bool turns = value == 0x200E || value == 0x200F || (value >= 0x2028 && value <= 0x202E) ||
                       (value >= 0x2066 && value <= 0x2069);
    if (turns) return {value, 3};
  }
  return {};
}

// At most `most_bytes`: of a longer text the middle is left out, and how much is said.
std::string shortened(std::string_view text, size_t most_bytes) {
  if (text.size() <= most_bytes) return std::string(text);
  constexpr size_t kMark = 40;  // of what stands for the part that is left out
  size_t head = most_bytes / 2, tail = text.size() - (most_bytes - head - std::min(kMark, most_bytes - head));
  while (head > 0 && is_continuation(text[head])) --head;
  while (tail < text.size() && is_continuation(text[tail])) ++tail;
  std::string out(text.substr(0, head));
  out.append(" ... (").append(std::to_string(tail - head)).append(" bytes left out) ... ").append(text.substr(tail));
  return out;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t valid = valid_utf8_prefix(text);
  for (size_t i = 0; i < text.size();) {
    if (i == valid) {  // not UTF-8 here
      append_escape("\\x%02x", uint8_t(text[i++]), out);
      valid = i + valid_utf8_prefix(text.substr(i));
      continue;
    }
    const Escaped escaped = escaped_at(text.substr(i));
    if (escaped.bytes == 0) {
      out += text[i++];
    } else {
      append_escape(escaped.value < 0x100 ? "\\x%02x" : "\\u%04x", escaped.value, out);
      i += escaped.bytes;
    }
  }
  return out;
}

std::string with_short_names(std::string_view text) {
  constexpr size_t kMostBytes = 120;  // no published name of a tensor, a token or a column is as long
  std::string out;
  size_t at = 0;
  while (at < text.size()) {
    const size_t open = std::min(text.find('"', at), text.size());
    out += text.substr(at, open - at);
    size_t close = open + 1;
    while (close < text.size() && text[close] != '"') close += text[close] == '\\' ? 2 : 1;
    if (close >= text.size()) return out.append(text.substr(open));
    out.append("\"").append(shortened(text.substr(open + 1, close - open - 1), kMostBytes)).append("\"");
    at = close + 1;
  }
  return out;
}

std::string one_line(std::string_view text, size_t most_bytes) {
  // Shortened before anything else: a long text must not cost much.
  const std::string shown = printable(shortened(text, most_bytes));
  std::string out;
  for (const char c : shown) {
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

}  // namespace swage
