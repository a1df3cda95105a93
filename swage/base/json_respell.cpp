#include "swage/base/json_respell.h"

#include <unordered_map>
#include <utility>
#include <vector>

#include "swage/base/error.h"
#include "swage/base/file.h"

namespace swage {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Finds the members of an object in a text that has been parsed: nothing of it is checked again.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  // The spellings of keys and values, in order.
  std::vector<std::pair<std::string_view, std::string_view>> members() {
    std::vector<std::pair<std::string_view, std::string_view>> out;
    skip_space();
    ++at_;  // the brace
    for (skip_space(); at() != '}' && at() != '\0'; skip_space()) {
      const std::string_view key = value();
      skip_space();
      ++at_;  // the colon
      skip_space();
      out.emplace_back(key, value());
      skip_space();
      if (at() == ',') ++at_;
    }
    return out;
  }

  std::string_view value() {
    const size_t begin = at_;
    if (at() == '"') {
      skip_string();
    } else if (opens(at())) {
      skip_nested();
    } else {
      while (at_ < text_.size() && at() != ',' && !closes(at()) && !is_space(at())) ++at_;
    }
    return text_.substr(begin, at_ - begin);
  }

  void skip_space() {
    while (is_space(at())) ++at_;
  }

 private:
  char at() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  static bool opens(char c) { return c == '{' || c == '['; }
  static bool closes(char c) { return c == '}' || c == ']'; }
  void skip_nested() {
    int depth = 0;
    do {
      if (at() == '"') {
        skip_string();
        continue;
      }
      depth += opens(at()) ? 1 : closes(at()) ? -1 : 0;
      ++at_;
    } while (depth > 0 && at_ < text_.size());
  }
  void skip_string() {
    for (++at_; at_ < text_.size() && at() != '"'; ++at_) {
      if (at() == '\\') ++at_;
    }
    ++at_;
  }

  std::string_view text_;
  size_t at_ = 0;
};

std::string dumped(const Json& value, int level) {
  std::string out;
  for (const char c : value.dump(2)) {  // a string holds its line breaks as escapes
    out += c;
    if (c == '\n') out.append(size_t(level) * 2, ' ');
  }
  return out;
}

// `text` is the spelling of `old`.
std::string respell(std::string_view text, const Json& old, const Json& now, int level) {
  if (now == old) return std::string(text);
  if (!now.is_object() || !old.is_object() || now.as_object().empty()) return dumped(now, level);
  const auto members = Scanner(text).members();
  std::unordered_map<std::string, std::pair<std::string_view, std::string_view>> spelled;
  for (const auto& member : members)  // of doubled keys the last one counts
    spelled[parse_json(member.first, "a key").as_string()] = member;
  std::unordered_map<std::string_view, const Json*> before;
  for (const auto& [name, value] : old.as_object()) before[name] = &value;
  const std::string indent(size_t(level + 1) * 2, ' ');
  std::string out = "{\n";
  for (const auto& [name, value] : now.as_object()) {
    const auto known = spelled.find(name);
    const bool is_new = known == spelled.end() || !before.contains(name);
    if (out.size() > 2) out += ",\n";
    out += indent;
    out += is_new ? Json(name).dump() : std::string(known->second.first);
    out += ": ";
    out += is_new ? dumped(value, level + 1) : respell(known->second.second, *before.at(name), value, level + 1);
  }
  return out + "\n" + indent.substr(2) + "}";
}

}  // namespace

std::string respelled(std::string_view text, const Json& now) {
  try {
    const Json old = parse_json(text, "the text");
    Scanner scanner(text);
    scanner.skip_space();
    return respell(scanner.value(), old, now, 0);
  } catch (const Error&) {  // it was changed meanwhile: who reads it says so
    return now.dump(2);
  }
}

std::string respelled_file(const std::filesystem::path& file, const Json& now) {
  return (is_there(file) ? respelled(read_regular_file(file, kMaxConfigBytes), now) : now.dump(2)) + "\n";
}

}  // namespace swage
