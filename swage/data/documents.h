// What the readers of one file format each share: rows come in, documents come out.
#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/json.h"
#include "swage/data/chat_template.h"
#include "swage/data/dataset.h"
#include "swage/data/row_form.h"

namespace swage::data {

// Turns rows into documents: text as it is, messages through the chat template. Files follow each other in one builder.
class DocumentBuilder {
 public:
  DocumentBuilder(const Tokenizer& tokenizer, const DatasetOptions& options);

  // The rows that follow are of this file; `row_word` names one in errors: "line", "row" or "element".
  void begin_file(std::string source, std::string row_word);
  // How the rows are read, by the columns of the first. Error(InvalidArgument) naming `columns` if they cannot be.
  void choose(const std::vector<std::string>& columns);
  bool has_chosen() const { return form_.has_value(); }
  // Of the columns of a file those that are looked at.
  std::vector<std::string> needed(const std::vector<std::string>& columns) const;
  // Whether a column is needed for the text itself, rather than because the chat template may look at it.
  bool requires_column(const std::string& column) const;
  // A row with at least the needed columns; numbers are 1-based within the file. Rows outside the options' range are
  // passed over. Error(CorruptData) naming file, row and column on types that do not fit, or when texts and messages
  // mix.
  void add(const Json& row, size_t number);
  // Nothing more is wanted: the range of rows has ended, or the text is enough.
  bool full() const;
  // A plain text is one document.
  void add_text(std::string text);
  // Error(InvalidArgument) if no document has any text.
  Documents take();
  // "file: line 3"
  std::string where(size_t row) const;

 private:
  bool has_enough() const;
  void add_row(const Json& row, const std::string& at);
  std::string formatted(const RowContent& content, const Json& row, const std::string& where);

  std::string source_, row_word_;
  const Tokenizer& tokenizer_;
  DatasetOptions options_;
  std::optional<RowForm> form_;
  std::optional<ChatTemplate> plain_template_;  // for a model without one, where the data set's form brings one
  Documents documents_;
  int64_t rows_seen_ = 0;
  uint64_t bytes_ = 0;
  bool any_text_ = false, chat_ = false;
};

// Reads one file by its name's end, as read_documents() does.
void add_documents(const std::filesystem::path& file, const DatasetOptions& options, DocumentBuilder& builder);

// Feed the rows of one file to the builder until it is full. JSON lines (.jsonl, .json) or, for .json, one array of
// objects; `.gz` behind either is decompressed.
void read_json_rows(const std::filesystem::path& file, std::string_view text, DocumentBuilder& builder);
void read_parquet_rows(const std::filesystem::path& file, DocumentBuilder& builder);
// The number of rows that those would read.
int64_t count_json_rows(const std::filesystem::path& file, std::string_view text);
int64_t count_parquet_rows(const std::filesystem::path& file);
// The bytes of a gzip file, unpacked; at most `most` of them: text that ends at the last whole line then.
std::string read_gzip(const std::filesystem::path& file, uint64_t most);

}  // namespace swage::data
