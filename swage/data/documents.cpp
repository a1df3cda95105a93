#include "swage/data/documents.h"

#include <algorithm>
#include <cctype>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/base/utf8.h"
#include "swage/io/mmap_file.h"

namespace swage::data {

namespace fs = std::filesystem;

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += cat(text.empty() ? "\"" : ", \"", name, "\"");
  return text.empty() ? "none" : text;
}

std::string choose_column(const std::vector<std::string>& columns, const std::string& wanted, std::string_view source) {
  const auto has = [&](const std::string& name) { return std::find(columns.begin(), columns.end(), name) != columns.end(); };
  if (!wanted.empty()) {
    SWAGE_CHECK(has(wanted), InvalidArgument, source, ": no column \"", wanted, "\"; columns found: ", quoted_list(columns));
    return wanted;
  }
  for (const char* name : {"text", "messages"}) {
    if (has(name)) return name;
  }
  throw Error(ErrorKind::InvalidArgument, cat(source, ": neither a \"text\" nor a \"messages\" column; columns found: ", quoted_list(columns),
                                              ". Choose one with --text-column"));
}

std::string DocumentBuilder::where(size_t row) const { return cat(source_, ": ", row_word_, " ", row); }

void DocumentBuilder::add(const Json& value, std::string_view column, size_t row) {
  const bool is_chat = value.is_array();
  SWAGE_CHECK(is_chat || value.is_string(), CorruptData, where(row), ": \"", column, "\" must be a string, or an array of messages");
  SWAGE_CHECK(documents_.texts.empty() || documents_.formatted == is_chat, CorruptData, where(row), ": \"", column, "\" is ",
              is_chat ? "an array" : "a string", ", but not so in the rows before");
  documents_.formatted = is_chat;
  for (const Json& message : is_chat ? value.as_array() : Json::Array()) {
    SWAGE_CHECK(message.is_object() && message.find("role") != nullptr && message.find("content") != nullptr, CorruptData, where(row),
                ": each of \"", column, "\" must be an object with \"role\" and \"content\"");
  }
  try {
    documents_.texts.push_back(is_chat ? tokenizer_.apply_chat_template(value, false) : value.as_string());
  } catch (Error& error) {
    error.add_context(where(row));
    throw;
  }
  any_text_ = any_text_ || !documents_.texts.back().empty();
}

Documents DocumentBuilder::take() {
  SWAGE_CHECK(!documents_.texts.empty(), InvalidArgument, source_, ": the data set is empty");
  SWAGE_CHECK(any_text_, InvalidArgument, source_, ": no document has any text");
  return std::move(documents_);
}

namespace {

Documents read_text_document(const fs::path& file) {
  const io::MmapFile mapped(file);
  std::string_view text = mapped.bytes();
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const size_t valid = valid_utf8_prefix(text);
  SWAGE_CHECK(valid == text.size(), CorruptData, file.string(), ": line ", 1 + std::count(text.begin(), text.begin() + ptrdiff_t(valid), '\n'),
              " is not UTF-8");
  SWAGE_CHECK(!text.empty(), InvalidArgument, file.string(), ": the data set is empty");
  return {{std::string(text)}, false};
}

std::string lower_extension(const fs::path& file) {
  std::string extension = file.extension().string();
  for (char& c : extension) c = char(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

}  // namespace

Documents read_documents(const fs::path& file, const Tokenizer& tokenizer, const DatasetOptions& options) {
  std::error_code ignored;
  SWAGE_CHECK(fs::exists(file, ignored), Io, file.string(), ": no such data set");
  const std::string kind = kind_of_file(file);  // opening a pipe would wait for its writer
  SWAGE_CHECK(kind == "a regular file" || kind == "a folder", Io, file.string(), ": expected a regular file, found ", kind);
  const std::string extension = lower_extension(file);
  if (extension == ".jsonl" || extension == ".json") return read_json_documents(file, tokenizer, options);
  if (extension == ".parquet") return read_parquet_documents(file, tokenizer, options);
  SWAGE_CHECK(extension == ".txt", InvalidArgument, file.string(), ": a data set must be a .jsonl, .json, .parquet or .txt file");
  SWAGE_CHECK(options.text_column.empty(), InvalidArgument, file.string(), ": a .txt file has no columns, so no \"", options.text_column, "\"");
  return read_text_document(file);
}

}  // namespace swage::data
