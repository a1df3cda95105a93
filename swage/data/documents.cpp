#include "swage/data/documents.h"

#include <algorithm>
#include <cctype>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/base/utf8.h"
#include "swage/io/mmap_file.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{2} << 30;  // kept in memory; half a billion tokens

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

DocumentBuilder::DocumentBuilder(const Tokenizer& tokenizer, const DatasetOptions& options)
    : tokenizer_(tokenizer),
      options_(options) {}

void DocumentBuilder::begin_file(std::string source, std::string row_word) {
  source_ = std::move(source);
  row_word_ = std::move(row_word);
}

std::string DocumentBuilder::where(size_t row) const { return cat(source_, ": ", row_word_, " ", row); }

void DocumentBuilder::choose(const std::vector<std::string>& columns) {
  if (form_) {  // a later file
    for (const std::string& column : form_->columns) {
      SWAGE_CHECK(has(columns, column), InvalidArgument, source_, ": no column \"", column,
                  "\", which the files before have; columns found: ", quoted_list(columns));
    }
    return;
  }
  form_ = choose_form(columns, options_.text_column, options_.form, source_);
  documents_.form = options_.form.empty() || !options_.text_column.empty() ? form_->text() : options_.form;
  if (!options_.form.empty() && !tokenizer_.has_chat_template())
    plain_template_.emplace(std::string(plain_chat_template()), "the plain chat template");
}

std::vector<std::string> DocumentBuilder::needed(const std::vector<std::string>& columns) const {
  std::vector<std::string> out;
  for (const std::string& column : columns) {
    if (requires_column(column) || is_template_variable(column, tokenizer_)) out.push_back(column);
  }
  return out;
}

bool DocumentBuilder::requires_column(const std::string& column) const {
  return has(form_->columns, column) || has(form_->optional, column);
}

std::string DocumentBuilder::formatted(const RowContent& content, const Json& row, const std::string& where) {
  if (plain_template_) return plain_template_->render(content.messages, tokenizer_.special_tokens(), {});
  ChatOptions options;
  options.variables = template_variables(*form_, row, where, tokenizer_);
  return tokenizer_.apply_chat_template(content.messages, options);
}

void DocumentBuilder::add(const Json& row, size_t number) {
  const int64_t index = rows_seen_++;
  if (index < options_.first_row || (options_.last_row >= 0 && index >= options_.last_row) || has_enough()) return;
  const std::string at = where(number);
  try {
    add_row(row, at);
  } catch (Error& error) {  // what a value of the row cannot be read as, or a template fails on, does not know where it
                            // stands
    if (!std::string_view(error.what()).starts_with(at)) error.add_context(at);
    throw;
  }
}

void DocumentBuilder::add_row(const Json& row, const std::string& at) {
  const RowContent content = read_row(*form_, row, at, tokenizer_.has_chat_template());
  SWAGE_CHECK(documents_.texts.empty() || chat_ == content.is_chat, CorruptData, at, ": \"", form_->columns[0],
              "\" is ", content.is_chat ? "an array" : "a string", ", but not so in the rows before");
  chat_ = content.is_chat;
  documents_.formatted = chat_ && !plain_template_;
  documents_.texts.push_back(chat_ ? formatted(content, row, at) : content.text);
  any_text_ = any_text_ || !documents_.texts.back().empty();
  bytes_ += documents_.texts.back().size();
  SWAGE_CHECK(bytes_ <= kMaxTextBytes, InvalidArgument, at, ": the rows up to here hold more than ",
              kMaxTextBytes >> 20, " MiB of text; a file of fewer rows is enough for calibration");
}

bool DocumentBuilder::full() const {
  return (options_.last_row >= 0 && rows_seen_ >= options_.last_row) || has_enough();
}

bool DocumentBuilder::has_enough() const { return options_.enough_bytes > 0 && bytes_ >= options_.enough_bytes; }

void DocumentBuilder::add_text(std::string text) {
  documents_.form = "text";
  any_text_ = any_text_ || !text.empty();
  documents_.texts.push_back(std::move(text));
}

Documents DocumentBuilder::take() {
  SWAGE_CHECK(!documents_.texts.empty(), InvalidArgument, source_, ": the data set is empty",
              options_.first_row > 0 ? " from that row on" : "");
  SWAGE_CHECK(any_text_, InvalidArgument, source_, ": no document has any text");
  if (options_.joins_rows) {  // as optimum joins wikitext's
    std::string text;
    for (const std::string& row : documents_.texts) text += row.empty() ? " \n" : row;
    documents_.texts = {std::move(text)};
  }
  return std::move(documents_);
}

namespace {

std::string read_text_document(const fs::path& file) {
  const io::MmapFile mapped(file);
  std::string_view text = mapped.bytes();
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const size_t valid = valid_utf8_prefix(text);
  SWAGE_CHECK(valid == text.size(), CorruptData, file.string(), ": line ",
              1 + std::count(text.begin(), text.begin() + ptrdiff_t(valid), '\n'), " is not UTF-8");
  SWAGE_CHECK(!text.empty(), InvalidArgument, file.string(), ": the data set is empty");
  return std::string(text);
}

constexpr uint64_t kMostUnpacked = uint64_t{2} << 30;  // text of a compressed file that is read; bounds memory

std::string lower_name(const fs::path& file) {
  std::string name = file.filename().string();
  for (char& c : name) c = char(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

bool is_json_name(std::string name) {
  if (name.ends_with(".gz")) name.resize(name.size() - 3);
  return name.ends_with(".jsonl") || name.ends_with(".json");
}

// Calls `work` with the text of a JSON file, compressed or not.
template <class Work>
auto with_text(const fs::path& file, Work work) {
  if (!lower_name(file).ends_with(".gz")) {
    const io::MmapFile mapped(file);
    return work(mapped.bytes());
  }
  const std::string text = read_gzip(file, kMostUnpacked);
  return work(std::string_view(text));
}

}  // namespace

bool is_data_file(const fs::path& file) {
  const std::string name = lower_name(file);
  return is_json_name(name) || name.ends_with(".parquet") || name.ends_with(".txt");
}

int64_t count_rows(const fs::path& file) {
  if (lower_name(file).ends_with(".parquet")) return count_parquet_rows(file);
  return is_json_name(lower_name(file))
             ? with_text(file, [&](std::string_view text) { return count_json_rows(file, text); })
             : 1;
}

void add_documents(const fs::path& file, const DatasetOptions& options, DocumentBuilder& builder) {
  std::error_code ignored;
  SWAGE_CHECK(fs::exists(file, ignored), Io, file.string(), ": no such data set");
  const std::string kind = kind_of_file(file);  // opening a pipe would wait for its writer
  SWAGE_CHECK(kind == "a regular file" || kind == "a folder", Io, file.string(), ": expected a regular file, found ",
              kind);
  const std::string name = lower_name(file);
  if (is_json_name(name)) return with_text(file, [&](std::string_view text) { read_json_rows(file, text, builder); });
  if (name.ends_with(".parquet")) return read_parquet_rows(file, builder);
  SWAGE_CHECK(name.ends_with(".txt"), InvalidArgument, file.string(),
              ": a data set must be a .jsonl, .json, .parquet or .txt file");
  SWAGE_CHECK(options.text_column.empty(), InvalidArgument, file.string(), ": a .txt file has no columns, so no \"",
              options.text_column, "\"");
  builder.begin_file(file.string(), "line");
  builder.add_text(read_text_document(file));
}

Documents read_documents(const fs::path& file, const Tokenizer& tokenizer, const DatasetOptions& options) {
  DocumentBuilder builder(tokenizer, options);
  add_documents(file, options, builder);
  return builder.take();
}

}  // namespace swage::data
