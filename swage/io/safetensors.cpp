#include "swage/io/safetensors.h"

#include <algorithm>
#include <string>

#include "swage/base/error.h"
#include "swage/base/json.h"

namespace swage::io {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxJsonBytes = 100'000'000;  // the reference implementation's limit
constexpr int kMaxDepth = 3;                     // header, tensor, shape
constexpr int64_t kMaxHeaderValues = 2'000'000;  // keeps what a hostile header makes us allocate to some 500 MB
constexpr std::string_view kMetadataKey = "__metadata__";

uint64_t read_length(std::string_view bytes) {
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= uint64_t{uint8_t(bytes[i])} << (8 * i);
  return length;
}

std::string_view json_part(std::string_view contents, std::string_view source) {
  SWAGE_CHECK(contents.size() >= kLengthBytes, CorruptData, source, ": a safetensors file has at least ", kLengthBytes,
              " bytes, this one has ", contents.size());
  const uint64_t length = read_length(contents);
  SWAGE_CHECK(length <= kMaxJsonBytes, CorruptData, source, ": the header claims ", length,
              " bytes, more than the format's limit of ", kMaxJsonBytes);
  const uint64_t rest = contents.size() - kLengthBytes;
  SWAGE_CHECK(length <= rest, CorruptData, source, ": the header claims ", length, " bytes, the file has only ", rest,
              " more");
  const std::string_view json = contents.substr(kLengthBytes, length);
  SWAGE_CHECK(json.starts_with('{'), CorruptData, source, ": the header does not start with '{'");
  // JSON has no zero byte; a parser that takes one for the end of the text would let hidden bytes through.
  SWAGE_CHECK(json.find('\0') == json.npos, CorruptData, source, ": the header holds a zero byte");
  const auto commas = std::count(json.begin(), json.end(), ',');
  SWAGE_CHECK(commas < kMaxHeaderValues, CorruptData, source, ": the header holds ", commas,
              " JSON values, expected less than ", kMaxHeaderValues);
  return json;
}

SafetensorsMetadata read_metadata(const Json& value) {
  SafetensorsMetadata metadata;
  for (const auto& [key, text] : value.as_object()) {
    SWAGE_CHECK(text.is_string(), CorruptData, quoted(key), ": expected a string");
    metadata.emplace_back(key, text.as_string());
  }
  return metadata;
}

uint64_t read_size(const Json& value) {
  const int64_t size = value.as_int();
  SWAGE_CHECK(size >= 0, CorruptData, "expected a size, found ", size);
  return uint64_t(size);
}

StoredTensor read_entry(const std::string& name, const Json& entry, uint64_t data_start, uint64_t data_size) {
  StoredTensor tensor;
  tensor.spec.name = name;
  for (const auto& [key, unused] : entry.as_object()) {
    SWAGE_CHECK(key == "dtype" || key == "shape" || key == "data_offsets", CorruptData, "unknown field ", quoted(key));
  }
  const std::string& type = entry.at("dtype").as_string();
  const auto dtype = dtype_named(type);
  SWAGE_CHECK(dtype.has_value(), CorruptData, "unknown dtype ", quoted(type));
  tensor.spec.dtype = *dtype;
  for (const Json& dim : entry.at("shape").as_array()) tensor.spec.shape.push_back(int64_t(read_size(dim)));
  tensor.bytes = data_bytes(tensor.spec);

  const Json::Array& offsets = entry.at("data_offsets").as_array();
  SWAGE_CHECK(offsets.size() == 2, CorruptData, "data_offsets holds ", offsets.size(), " numbers, expected 2");
  const uint64_t begin = read_size(offsets[0]);
  const uint64_t end = read_size(offsets[1]);
  SWAGE_CHECK(begin <= end, CorruptData, "data_offsets [", begin, ", ", end, "] end before they begin");
  SWAGE_CHECK(end <= data_size, CorruptData, "data_offsets [", begin, ", ", end, "] exceed the file's ", data_size,
              " bytes of data: the file is truncated or the header wrong");
  SWAGE_CHECK(end - begin == tensor.bytes, CorruptData, "data_offsets [", begin, ", ", end, "] span ", end - begin,
              " bytes, ", name_of(*dtype), " ", shape_text(tensor.spec.shape), " has ", tensor.bytes);
  tensor.offset = data_start + begin;
  return tensor;
}

// Sorts the tensors by their place and checks that they fill [data_start, file_size) exactly.
void check_coverage(std::vector<StoredTensor>& tensors, uint64_t data_start, uint64_t file_size,
                    std::string_view source) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  uint64_t expected = data_start;
  for (const StoredTensor& tensor : tensors) {
    SWAGE_CHECK(tensor.offset >= expected, CorruptData, source, ": tensor ", quoted(tensor.spec.name),
                " overlaps the one before it by ", expected - tensor.offset, " bytes");
    SWAGE_CHECK(tensor.offset == expected, CorruptData, source, ": ", tensor.offset - expected, " bytes before tensor ",
                quoted(tensor.spec.name), " belong to no tensor");
    expected += tensor.bytes;
  }
  SWAGE_CHECK(expected == file_size, CorruptData, source, ": ", file_size - expected,
              " bytes after the last tensor belong to no tensor");
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view contents, std::string_view source) {
  const std::string_view text = json_part(contents, source);
  // Metadata is a map whose last entry counts; of a tensor that came twice nobody knows which one is meant.
  const auto on_doubled_key = [&](std::string_view outermost, std::string_view key) {
    SWAGE_CHECK(outermost == kMetadataKey, CorruptData, source, ": key ", quoted(key), " appears twice");
  };
  const Json json = parse_json(text, source, {.max_depth = kMaxDepth, .on_doubled_key = on_doubled_key});
  SafetensorsHeader header;
  header.bytes = kLengthBytes + text.size();
  for (const auto& [name, entry] : json.as_object()) {
    try {
      if (name == kMetadataKey) {
        header.metadata = read_metadata(entry);
      } else {
        header.tensors.push_back(read_entry(name, entry, header.bytes, contents.size() - header.bytes));
      }
    } catch (Error& e) {
      e.add_context(cat(source, ": ", quoted(name)));
      throw;
    }
  }
  check_coverage(header.tensors, header.bytes, contents.size(), source);
  return header;
}

std::string safetensors_header(const std::vector<TensorSpec>& tensors, const SafetensorsMetadata& metadata) {
  Json::Object json;
  if (!metadata.empty()) {
    Json::Object values;
    for (const auto& [key, text] : metadata) values.emplace_back(key, text);
    json.emplace_back(std::string(kMetadataKey), std::move(values));
  }
  std::vector<std::string_view> names{kMetadataKey};
  uint64_t begin = 0;
  for (const TensorSpec& spec : tensors) {
    names.push_back(spec.name);
    const uint64_t end = begin + data_bytes(spec);
    Json::Array shape(spec.shape.begin(), spec.shape.end());
    json.emplace_back(spec.name, Json::Object{{"dtype", name_of(spec.dtype)},
                                              {"shape", std::move(shape)},
                                              {"data_offsets", Json::Array{begin, end}}});
    begin = end;
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  SWAGE_CHECK(twice == names.end(), InvalidArgument, "safetensors: the name ", quoted(*twice),
              " is reserved or given twice");

  std::string text = Json(std::move(json)).dump();
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  SWAGE_CHECK(text.size() <= kMaxJsonBytes, InvalidArgument, "safetensors: ", tensors.size(),
              " tensors make a header of ", text.size(), " bytes, the format allows ", kMaxJsonBytes);
  std::string out;
  for (size_t i = 0; i < kLengthBytes; ++i) out += char(uint8_t(uint64_t{text.size()} >> (8 * i)));
  return out + text;
}

}  // namespace swage::io
