#include "swage/base/yaml.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>
#include <string_view>

#include "swage/base/error.h"
#include "swage/base/utf8.h"

namespace swage {
namespace {

constexpr int kMaxDepth = 100;
constexpr size_t kLongestKey = 1000;      // readers look for a key's colon in 1024 bytes; longer keys are marked
constexpr int64_t kMaxNodes = 1'000'000;  // aliases could otherwise multiply a small text without end

struct Word {
  std::string_view spelled;
  std::optional<bool> value;  // none: null
};
constexpr Word kWords[] = {{"", {}},         {"~", {}},        {"null", {}},    {"Null", {}},
                           {"NULL", {}},     {"true", true},   {"True", true},  {"TRUE", true},
                           {"false", false}, {"False", false}, {"FALSE", false}};

// A number that is all of the text; nothing for other text.
template <class T>
std::optional<T> number_in(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

Json plain_scalar(const std::string& text) {
  const auto word =
      std::find_if(std::begin(kWords), std::end(kWords), [&](const Word& w) { return w.spelled == text; });
  if (word != std::end(kWords)) return word->value ? Json(*word->value) : Json();
  const std::string_view digits = std::string_view(text).substr(text[0] == '+' ? 1 : 0);
  if (const auto integer = number_in<int64_t>(digits)) return Json(*integer);
  if (const auto number = number_in<double>(digits); number && std::isfinite(*number)) return Json(*number);
  return Json(text);
}

constexpr std::string_view kPython = "tag:yaml.org,2002:python/";

// What PyYAML writes for objects of Python: an enumerator as the call that makes it of its value, a function or type by
// its name.
bool is_call(const std::string& tag) {
  return tag.starts_with(cat(kPython, "object/apply:")) || tag.starts_with(cat(kPython, "object/new:"));
}
std::string python_name(const std::string& tag) {
  const std::string name = cat(kPython, "name:");
  return tag.starts_with(name) ? tag.substr(name.size()) : "";
}

class Converter {
 public:
  explicit Converter(std::string_view source) : source_(source) {}

  Json convert(const YAML::Node& node, int depth) {
    SWAGE_CHECK(depth < kMaxDepth, CorruptData, source_, ": nested deeper than ", kMaxDepth, " levels");
    SWAGE_CHECK(++nodes_ < kMaxNodes, CorruptData, source_, ": more than ", kMaxNodes, " values");
    if (const std::string name = python_name(node.Tag()); !name.empty()) return Json(name);
    if (node.IsScalar()) return node.Tag() == "!" ? Json(node.Scalar()) : plain_scalar(node.Scalar());
    if (node.IsSequence()) {
      if (is_call(node.Tag()))
        return node.size() == 1 ? convert(node[0], depth + 1)
                                : Json();  // an enumerator's value; else an object that has none
      Json out = Json::array();
      for (const auto& item : node) out.push_back(convert(item, depth + 1));
      return out;
    }
    if (!node.IsMap()) return Json();
    Json::Object out;
    std::set<std::string> keys;
    for (const auto& member : node) {
      SWAGE_CHECK(member.first.IsScalar(), CorruptData, source_, ": a key on line ", member.first.Mark().line + 1,
                  " is not a plain word");
      const std::string key = member.first.Scalar();
      SWAGE_CHECK(keys.insert(key).second, CorruptData, source_, ": key \"", key, "\" appears twice");
      out.emplace_back(key, convert(member.second, depth + 1));
    }
    return Json(std::move(out));
  }

 private:
  std::string source_;
  int64_t nodes_ = 0;
};

// A string that plain style would read back as something else needs quotes.
bool needs_quotes(const std::string& text) {
  if (!plain_scalar(text).is_string() || text.front() == ' ' || text.back() == ' ') return true;
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    return true;  // a reader stops at some of them
  if (std::string_view("-?:,[]{}#&*!|>'\"%@`").find(text[0]) != std::string_view::npos) return true;
  if (text.starts_with("...") || text.starts_with("\xEF\xBB\xBF"))
    return true;  // the end of a document, a byte order mark
  return text.find_first_of("\n\t\\\"") != std::string::npos || text.find(": ") != std::string::npos ||
         text.find(" #") != std::string::npos || text.back() == ':';
}

std::string scalar_text(const Json& value) {
  if (!value.is_string()) return value.dump();  // null, booleans, numbers, and empty containers look alike in both
  return needs_quotes(value.as_string()) ? value.dump() : value.as_string();
}

bool is_leaf(const Json& value) {
  if (value.is_array()) return value.as_array().empty();
  return !value.is_object() || value.as_object().empty();
}

void write(const Json& value, int level, std::string& out) {
  const std::string indent(size_t(level) * 2, ' ');
  if (value.is_object()) {
    for (const auto& [key, member] : value.as_object()) {
      const std::string text = scalar_text(Json(key));
      out += text.size() > kLongestKey ? cat(indent, "? ", text, "\n", indent, ":") : cat(indent, text, ":");
      if (is_leaf(member)) {
        out += " " + scalar_text(member) + "\n";
      } else {
        out += "\n";
        write(member, level + 1, out);
      }
    }
    return;
  }
  for (const Json& item : value.as_array()) {
    if (is_leaf(item)) {
      out += indent + "- " + scalar_text(item) + "\n";
    } else {
      std::string inner;
      write(item, level + 1, inner);
      inner.replace(0, indent.size() + 2, indent + "- ");
      out += inner;
    }
  }
}

// Of the lines, since YAML::LoadAll() takes all memory for some texts that are none. "---" in the first column begins a
// document wherever it stands.
void check_one_document(std::string_view text, std::string_view source) {
  bool has_content = false, is_behind = false;
  int64_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.starts_with("---") && (line.size() == 3 || line[3] == ' ' || line[3] == '\r')) {
      is_behind = has_content;
      line.remove_prefix(3);
    }
    const bool ends = line.starts_with("...") && (line.size() == 3 || line[3] == ' ' || line[3] == '\r');
    if (ends) {
      is_behind = has_content;
      continue;
    }
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos || line[first] == '#' || line[first] == '%') continue;
    SWAGE_CHECK(!is_behind, CorruptData, source, ": a second document begins on line ", number,
                " (behind ---), where one is expected");
    has_content = true;
  }
}

}  // namespace

Json parse_yaml(std::string_view text, std::string_view source) {
  const size_t valid = valid_utf8_prefix(text);  // the parser would take other bytes for characters
  SWAGE_CHECK(valid == text.size(), CorruptData, source, ": not UTF-8 at byte ", valid);
  const auto control = std::find_if(text.begin(), text.end(),
                                    [](unsigned char c) { return c < 0x20 && c != '\t' && c != '\n' && c != '\r'; });
  SWAGE_CHECK(control == text.end(), CorruptData, source, ": a control character at byte ", control - text.begin(),
              ", which YAML has only as an escape between double quotes");
  try {
    check_one_document(text, source);
    return Converter(source).convert(YAML::Load(std::string(text)), 0);
  } catch (const YAML::Exception& e) {
    throw Error(ErrorKind::CorruptData,
                cat(source, ": not valid YAML at line ", e.mark.line + 1, ", column ", e.mark.column + 1, ": ", e.msg));
  }
}

std::string dump_yaml(const Json& value) {
  if (is_leaf(value)) return scalar_text(value) + "\n";
  std::string out;
  write(value, 0, out);
  return out;
}

}  // namespace swage
