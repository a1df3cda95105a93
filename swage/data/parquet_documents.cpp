// The only file that sees Arrow. Arrow reports with Status and the Parquet library under it with exceptions; both
// become Error(CorruptData), and every batch is validated in full (offsets, lengths, UTF-8) before a value of it is
// touched.
#include <arrow/api.h>
#include <arrow/io/compressed.h>
#include <arrow/io/file.h>
#include <arrow/memory_pool.h>
#include <arrow/util/compression.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>
#include <parquet/properties.h>

#include <algorithm>
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
constexpr int64_t kMaxReaderBytes = int64_t{1}
                                    << 30;  // of Arrow's buffers: a run of one value is a few bytes in the file
constexpr int64_t kMaxListItems = 1 << 20;  // of one list; conversations have hundreds

class Column {
 public:
  const std::string& name() const { return name_; }
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
      case arrow::Type::INT8:
        return Json(int64_t{static_cast<const arrow::Int8Array&>(array).Value(i)});
      case arrow::Type::INT16:
        return Json(int64_t{static_cast<const arrow::Int16Array&>(array).Value(i)});
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
        throw Error(ErrorKind::Unsupported, cat(source_, ": column \"", name_, "\" holds ", array.type()->ToString(),
                                                ", not text or messages"));
    }
  }

 private:
  template <class List>
  Json list(const List& array, int64_t i, int depth) const {
    const int64_t count = array.value_offset(i + 1) - array.value_offset(i);
    SWAGE_CHECK(count <= kMaxListItems, CorruptData, source_, ": column \"", name_, "\" holds a list of ", count,
                " items, more than ", kMaxListItems);
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
  SWAGE_CHECK(!status.IsOutOfMemory(), CorruptData, file.string(), ": a row group takes more than ",
              kMaxReaderBytes >> 20, " MiB to read; write the file with smaller row groups");
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

std::unique_ptr<parquet::arrow::FileReader> open(const fs::path& file, arrow::MemoryPool* pool) {
  parquet::ReaderProperties reading(pool);
  reading.enable_buffered_stream();
  reading.set_page_checksum_verification(true);
  parquet::ArrowReaderProperties arrow_reading(/*use_threads=*/false);
  arrow_reading.set_pre_buffer(
      false);  // its reads end on threads of Arrow's that may outlive the pool when decoding fails
  arrow_reading.set_batch_size(kBatchRows);
  parquet::arrow::FileReaderBuilder builder;
  check(builder.Open(check(arrow::io::ReadableFile::Open(file.string(), pool), file), reading), file);
  builder.memory_pool(pool)->properties(arrow_reading);
  return check(builder.Build(), file);
}

// A column that the template only may look at does not stop the run by its type: there is no such value in a
// conversation.
Json value_of(const Column& column, const arrow::Array& array, int64_t i, const DocumentBuilder& builder) {
  if (builder.requires_column(column.name())) return column.value(array, i);
  try {
    return column.value(array, i);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Unsupported) throw;
    return {};
  }
}

// The bounded pool of all readers; the system's pool below it gives memory back at once. Never destroyed: Arrow's
// threads give buffers of a reader that failed back when they come to it, which may be after the error was told.
arrow::MemoryPool* reader_pool() {
  static auto* const pool = new arrow::CappedMemoryPool(arrow::system_memory_pool(), kMaxReaderBytes);
  return pool;
}

void read(const fs::path& file, DocumentBuilder& builder) {
  const auto reader = open(file, reader_pool());
  const auto& fields = reader->manifest().schema_fields;
  std::vector<std::string> names;
  for (const auto& field : fields) names.push_back(field.field->name());
  builder.begin_file(file.string(), "row");
  builder.choose(names);
  const std::vector<std::string> needed = builder.needed(names);
  std::vector<int> leaves, row_groups;
  std::vector<Column> columns;  // in the file's order, as the batches have them
  for (size_t f = 0; f < fields.size(); ++f) {
    if (std::find(needed.begin(), needed.end(), names[f]) == needed.end()) continue;
    collect_leaves(fields[f], leaves);
    columns.emplace_back(file, names[f]);
  }
  for (int g = 0; g < reader->num_row_groups(); ++g) row_groups.push_back(g);
  const auto batches = check(reader->GetRecordBatchReader(row_groups, leaves), file);
  size_t number = 0;
  while (!builder.full()) {
    std::shared_ptr<arrow::RecordBatch> batch;
    check(batches->ReadNext(&batch), file);
    if (batch == nullptr) break;
    check(batch->ValidateFull(), file);
    for (int64_t i = 0; i < batch->num_rows() && !builder.full(); ++i) {
      Json row = Json::object();
      for (size_t c = 0; c < columns.size(); ++c)
        row.set(columns[c].name(), value_of(columns[c], *batch->column(int(c)), i, builder));
      builder.add(row, ++number);
    }
  }
}

template <class Work>
auto guarded(const fs::path& file, Work work) {
  try {
    return work();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorKind::CorruptData, cat(file.string(), ": not a readable Parquet file: ", error.what()));
  }
}

}  // namespace

void read_parquet_rows(const fs::path& file, DocumentBuilder& builder) {
  guarded(file, [&] { read(file, builder); });
}

int64_t count_parquet_rows(const fs::path& file) {
  return guarded(file, [&] { return open(file, reader_pool())->parquet_reader()->metadata()->num_rows(); });
}

std::string read_gzip(const fs::path& file, uint64_t most) {
  const auto corrupt = [&](const arrow::Status& status) {
    if (!status.ok())
      throw Error(ErrorKind::CorruptData, cat(file.string(), ": not a readable gzip file: ", status.message()));
  };
  const auto value = [&](auto result) {
    corrupt(result.status());
    return std::move(result).ValueUnsafe();
  };
  const auto codec = value(arrow::util::Codec::Create(arrow::Compression::GZIP));
  const auto raw = value(arrow::io::ReadableFile::Open(file.string(), arrow::system_memory_pool()));
  const auto stream = value(arrow::io::CompressedInputStream::Make(codec.get(), raw, arrow::system_memory_pool()));
  std::string out, piece(size_t{1} << 20, '\0');
  while (out.size() < most) {
    const int64_t count = value(stream->Read(int64_t(piece.size()), piece.data()));
    if (count == 0) return out;
    out.append(piece, 0, size_t(count));
  }
  out.resize(out.rfind('\n', most) + 1);  // npos + 1 is 0: not one whole line
  return out;
}

}  // namespace swage::data
