// What the readers of one file format each share: rows come in, documents come out.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/json.h"
#include "swage/data/dataset.h"

namespace swage::data {

// The column to read: the wanted one, or "text", or "messages". Error(InvalidArgument) naming `columns` if there is none.
std::string choose_column(const std::vector<std::string>& columns, const std::string& wanted, std::string_view source);
// "a", "b", "c"
std::string quoted_list(const std::vector<std::string>& names);

// Turns the values of a column into documents: strings as they are, arrays of messages through the chat template.
class DocumentBuilder {
 public:
  // `row_word` names a row in errors: "line", "row" or "element".
  DocumentBuilder(std::string source, std::string row_word, const Tokenizer& tokenizer)
      : source_(std::move(source)),
        row_word_(std::move(row_word)),
        tokenizer_(tokenizer) {}

  // Row numbers are 1-based. Error(CorruptData) naming file, row and column on any other type, or when the types mix.
  void add(const Json& value, std::string_view column, size_t row);
  // Error(InvalidArgument) if no document has any text.
  Documents take();
  // "file: line 3"
  std::string where(size_t row) const;

 private:
  std::string source_, row_word_;
  const Tokenizer& tokenizer_;
  Documents documents_;
  bool any_text_ = false;
};

// JSON lines (.jsonl, .json) or, for .json, one array of objects.
Documents read_json_documents(const std::filesystem::path& file, const Tokenizer& tokenizer, const DatasetOptions& options);
Documents read_parquet_documents(const std::filesystem::path& file, const Tokenizer& tokenizer, const DatasetOptions& options);

}  // namespace swage::data
