// The only file that sees Arrow. Arrow reports with Status and the Parquet library under it with exceptions; both become
// Error(CorruptData), and every batch is validated in full (offsets, lengths, UTF-8) before a value of it is touched.
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>
#include <parquet/properties.h>

#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "swage/base/error.h"
#include "swage/data/documents.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kBatchRows = 256;
constexpr int kMaxDepth = 32;

class Column {
 public:
  Column(const fs::path& file, std::string name) : source_(file.string()), name_(std::move(name)) {}

  // One value, nested ones included, as JSON.
  Json value(const arrow::Array& array, int64_t i, int depth = 0) const {
    SWAGE_CHECK(depth < kMaxDepth, CorruptData, source_, ": column \"", name_, "\" is nested too deeply");
    if (array.IsNull(i)) return {};
    switch (array.type_id()) {
      case arrow::Type::STRING:
        return Json(static_cast<const arrow::StringArray&>(array).GetView(i));
      case arrow::Type::LARGE_STRING:
        return Json(static_cast<const arrow::LargeStringArray&>(array).GetView(i));
      case arrow::Type::BOOL:
        return Json(static_cast<const arrow::BooleanArray&>(array).Value(i));
      case arrow::Type::INT32:
        return Json(int64_t{static_cast<const arrow::Int32Array&>(array).Value(i)});
      case arrow::Type::INT64:
        return Json(static_cast<const arrow::Int64Array&>(array).Value(i));
      case arrow::Type::FLOAT:
        return Json(double{static_cast<const arrow::FloatArray&>(array).Value(i)});
      case arrow::Type::DOUBLE:
        return Json(static_cast<const arrow::DoubleArray&>(array).Value(i));
      case arrow::Type::DICTIONARY: {
        const auto& coded = static_cast<const arrow::DictionaryArray&>(array);
        return value(*coded.dictionary(), coded.GetValueIndex(i), depth + 1);
      }
      case arrow::Type::LIST:
        return list(static_cast<const arrow::ListArray&>(array), i, depth);
      case arrow::Type::LARGE_LIST:
        return list(static_cast<const arrow::LargeListArray&>(array), i, depth);
      case arrow::Type::STRUCT:
        return object(static_cast<const arrow::StructArray&>(array), i, depth);
      default:
        throw Error(ErrorKind::Unsupported, cat(source_, ": column \"", name_, "\" holds ", array.type()->ToString(), ", not text or messages"));
    }
  }

 private:
  template <class List>
  Json list(const List& array, int64_t i, int depth) const {
    Json items = Json::array();
    for (int64_t k = array.value_offset(i); k < array.value_offset(i + 1); ++k) {
      items.push_back(value(*array.values(), k, depth + 1));
    }
    return items;
  }

  // Null members are left out: Parquet gives every message the fields of all of them.
  Json object(const arrow::StructArray& array, int64_t i, int depth) const {
    Json members = Json::object();
    for (int f = 0; f < array.num_fields(); ++f) {
      Json member = value(*array.field(f), i, depth + 1);
      if (!member.is_null()) members.set(array.struct_type()->field(f)->name(), std::move(member));
    }
    return members;
  }

  std::string source_, name_;
};

void check(const arrow::Status& status, const fs::path& file) {
  if (status.ok()) return;
  const ErrorKind kind = status.IsIOError() && !fs::is_regular_file(file) ? ErrorKind::Io : ErrorKind::CorruptData;
  throw Error(kind, cat(file.string(), ": not a readable Parquet file: ", status.message()));
}

template <class T>
T check(arrow::Result<T> result, const fs::path& file) {
  check(result.status(), file);
  return std::move(result).ValueUnsafe();
}

void collect_leaves(const parquet::arrow::SchemaField& field, std::vector<int>& leaves) {
  if (field.column_index >= 0) leaves.push_back(field.column_index);
  for (const auto& child : field.children) collect_leaves(child, leaves);
}

std::unique_ptr<parquet::arrow::FileReader> open(const fs::path& file) {
  arrow::MemoryPool* pool = arrow::system_memory_pool();  // gives memory back at once
  parquet::ReaderProperties reading(pool);
  reading.enable_buffered_stream();
  reading.set_page_checksum_verification(true);
  parquet::ArrowReaderProperties arrow_reading(/*use_threads=*/false);
  arrow_reading.set_batch_size(kBatchRows);
  parquet::arrow::FileReaderBuilder builder;
  check(builder.Open(check(arrow::io::ReadableFile::Open(file.string(), pool), file), reading), file);
  builder.memory_pool(pool)->properties(arrow_reading);
  return check(builder.Build(), file);
}

Documents read(const fs::path& file, const Tokenizer& tokenizer, const DatasetOptions& options) {
  const auto reader = open(file);
  const auto& fields = reader->manifest().schema_fields;
  std::vector<std::string> names;
  for (const auto& field : fields) names.push_back(field.field->name());
  const std::string name = choose_column(names, options.text_column, file.string());
  std::vector<int> leaves, row_groups;
  for (size_t f = 0; f < fields.size(); ++f) {
    if (names[f] == name) collect_leaves(fields[f], leaves);
  }
  for (int g = 0; g < reader->num_row_groups(); ++g) row_groups.push_back(g);

  DocumentBuilder builder(file.string(), "row", tokenizer);
  const Column column(file, name);
  const auto batches = check(reader->GetRecordBatchReader(row_groups, leaves), file);
  size_t row = 0;
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    check(batches->ReadNext(&batch), file);
    if (batch == nullptr) break;
    check(batch->ValidateFull(), file);
    for (int64_t i = 0; i < batch->num_rows(); ++i) builder.add(column.value(*batch->column(0), i), name, ++row);
  }
  return builder.take();
}

}  // namespace

Documents read_parquet_documents(const fs::path& file, const Tokenizer& tokenizer, const DatasetOptions& options) {
  try {
    return read(file, tokenizer, options);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorKind::CorruptData, cat(file.string(), ": not a readable Parquet file: ", error.what()));
  }
}

}  // namespace swage::data
