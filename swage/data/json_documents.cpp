#include <string>
#include <string_view>

#include "swage/base/error.h"
#include "swage/data/documents.h"
#include "swage/io/mmap_file.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kBlank = " \t\r\n";

// Feeds objects to a DocumentBuilder; the first one decides which column is read.
class ObjectRows {
 public:
  ObjectRows(const fs::path& file, std::string row_word, const Tokenizer& tokenizer, const DatasetOptions& options)
      : builder_(file.string(), std::move(row_word), tokenizer),
        file_(file.string()),
        wanted_(options.text_column) {}

  void add(const Json& row, size_t number) {
    SWAGE_CHECK(row.is_object(), CorruptData, builder_.where(number), ": expected a JSON object");
    if (column_.empty()) column_ = choose_column(keys(row), wanted_, file_);
    const Json* value = row.find(column_);
    SWAGE_CHECK(value != nullptr, CorruptData, builder_.where(number), ": no \"", column_, "\"; found: ", quoted_list(keys(row)));
    builder_.add(*value, column_, number);
  }
  std::string where(size_t number) const { return builder_.where(number); }
  Documents take() { return builder_.take(); }

 private:
  static std::vector<std::string> keys(const Json& row) {
    std::vector<std::string> names;
    for (const auto& [name, value] : row.as_object()) names.push_back(name);
    return names;
  }

  DocumentBuilder builder_;
  std::string file_, wanted_, column_;
};

Documents read_array(std::string_view text, const fs::path& file, const Tokenizer& tokenizer, const DatasetOptions& options) {
  ObjectRows rows(file, "element", tokenizer, options);
  size_t number = 0;
  const Json array = parse_json(text, file.string());
  for (const Json& row : array.as_array()) rows.add(row, ++number);
  return rows.take();
}

Documents read_lines(std::string_view text, const fs::path& file, const Tokenizer& tokenizer, const DatasetOptions& options) {
  ObjectRows rows(file, "line", tokenizer, options);
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    if (line.find_first_not_of(kBlank) == std::string_view::npos) continue;
    rows.add(parse_json(line, rows.where(number)), number);
  }
  return rows.take();
}

}  // namespace

Documents read_json_documents(const fs::path& file, const Tokenizer& tokenizer, const DatasetOptions& options) {
  const io::MmapFile mapped(file);
  std::string_view text = mapped.bytes();
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const size_t first = text.find_first_not_of(kBlank);
  const bool array = file.extension() != ".jsonl" && first != std::string_view::npos && text[first] == '[';
  return array ? read_array(text, file, tokenizer, options) : read_lines(text, file, tokenizer, options);
}

}  // namespace swage::data
