#include <string>
#include <string_view>

#include "swage/base/error.h"
#include "swage/data/documents.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kBlank = " \t\r\n";

std::string_view without_mark(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  return text;
}

// One array of objects rather than an object a line.
bool is_array(const fs::path& file, std::string_view text) {
  const size_t first = text.find_first_not_of(kBlank);
  const std::string name = file.filename().string();
  return name.find(".jsonl") == std::string::npos && first != std::string_view::npos && text[first] == '[';
}

// Calls `take` with each line that is not blank, and its number, until that says no.
template <class Take>
void each_line(std::string_view text, Take take) {
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.find_first_not_of(kBlank) != std::string_view::npos && !take(line, number)) return;
  }
}

// The first row decides how all are read.
void add(const Json& row, size_t number, DocumentBuilder& builder) {
  SWAGE_CHECK(row.is_object(), CorruptData, builder.where(number), ": expected a JSON object");
  if (!builder.has_chosen()) {
    std::vector<std::string> names;
    for (const auto& [name, value] : row.as_object()) names.push_back(name);
    builder.choose(names);
  }
  builder.add(row, number);
}

}  // namespace

void read_json_rows(const fs::path& file, std::string_view text, DocumentBuilder& builder) {
  text = without_mark(text);
  const bool array = is_array(file, text);
  builder.begin_file(file.string(), array ? "element" : "line");
  if (array) {
    const Json rows = parse_json(text, file.string());
    size_t number = 0;
    for (const Json& row : rows.as_array()) {
      if (builder.full()) return;
      add(row, ++number, builder);
    }
    return;
  }
  each_line(text, [&](std::string_view line, size_t number) {
    if (builder.full()) return false;
    add(parse_json(line, builder.where(number)), number, builder);
    return true;
  });
}

int64_t count_json_rows(const fs::path& file, std::string_view text) {
  text = without_mark(text);
  if (is_array(file, text)) return int64_t(parse_json(text, file.string()).as_array().size());
  int64_t rows = 0;
  each_line(text, [&](std::string_view, size_t) { return ++rows > 0; });
  return rows;
}

}  // namespace swage::data
