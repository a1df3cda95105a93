#include "swage/io/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "swage/base/error.h"
#include "swage/base/utf8.h"
#include "swage/io/tensor_spec.h"

namespace swage::io {
namespace {

namespace fs = std::filesystem;

constexpr auto kTypes = std::to_array<GgufType>({
    {0, "F32", 1, 4},         {1, "F16", 1, 2},        {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},     {8, "Q8_0", 32, 34},      {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},  {13, "Q5_K", 256, 176},   {14, "Q6_K", 256, 210},
    {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74}, {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110}, {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},         {25, "I16", 1, 2},       {26, "I32", 1, 4},        {27, "I64", 1, 8},
    {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},  {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},   {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},
    {42, "Q2_0", 64, 18},
});

// Types of a key's value.
enum class Kind : uint32_t { U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64 };
constexpr uint32_t kKinds = 13;

// Bounds on what a hostile file makes us allocate.
constexpr uint64_t kMostKeys = 65536, kMostTensors = 1 << 20, kMostElements = 8 << 20, kMostText = 16 << 20;
constexpr uint32_t kMostDimensions = 4;
constexpr uint64_t kMostAlignment = 1 << 20;

class Cursor {
 public:
  Cursor(std::string_view contents, std::string_view source) : contents_(contents), source_(source) {}

  template <class T>
  T take(const char* what) {
    T value;
    const std::string_view from = bytes(sizeof value, what);
    std::memcpy(&value, from.data(), from.size());
    return value;
  }
  std::string_view bytes(uint64_t count, const char* what) {
    SWAGE_CHECK(count <= contents_.size() - at_, CorruptData, source_, ": the file ends at ", contents_.size(),
                " bytes, within ", what);
    at_ += count;
    return contents_.substr(at_ - count, count);
  }
  std::string text(const char* what) {
    const auto length = take<uint64_t>(what);
    SWAGE_CHECK(length <= kMostText, CorruptData, source_, ": ", what, " of ", length, " bytes, expected at most ",
                kMostText);
    const std::string_view out = bytes(length, what);
    SWAGE_CHECK(valid_utf8_prefix(out) == out.size(), CorruptData, source_, ": ", what, " is not UTF-8");
    return std::string(out);
  }
  uint64_t at() const { return at_; }
  uint64_t left() const { return contents_.size() - at_; }
  std::string_view source() const { return source_; }

 private:
  const std::string_view contents_, source_;
  uint64_t at_ = 0;
};

Json value_of(Cursor& in, Kind kind) {
  constexpr const char* kWhat = "a key's value";
  switch (kind) {
    case Kind::U8:
      return int64_t{in.take<uint8_t>(kWhat)};
    case Kind::I8:
      return int64_t{in.take<int8_t>(kWhat)};
    case Kind::U16:
      return int64_t{in.take<uint16_t>(kWhat)};
    case Kind::I16:
      return int64_t{in.take<int16_t>(kWhat)};
    case Kind::U32:
      return int64_t{in.take<uint32_t>(kWhat)};
    case Kind::I32:
      return int64_t{in.take<int32_t>(kWhat)};
    case Kind::F32:
      return double{in.take<float>(kWhat)};
    case Kind::Bool:
      return in.take<uint8_t>(kWhat) != 0;
    case Kind::String:
      return in.text(kWhat);
    case Kind::U64: {
      const auto value = in.take<uint64_t>(kWhat);
      return value <= uint64_t(std::numeric_limits<int64_t>::max()) ? Json(value) : Json::number(cat(value));
    }
    case Kind::I64:
      return in.take<int64_t>(kWhat);
    case Kind::F64:
      return in.take<double>(kWhat);
    case Kind::Array:
      break;
  }
  throw Error(ErrorKind::CorruptData, cat(in.source(), ": an array of arrays"));
}

Kind kind_of(Cursor& in, const std::string& key) {
  const auto kind = in.take<uint32_t>("a key's type");
  SWAGE_CHECK(kind < kKinds, CorruptData, in.source(), ": key ", quoted(key), " has the unknown type ", kind);
  return Kind(kind);
}

// `elements`: of all arrays so far.
Json read_value(Cursor& in, const std::string& key, uint64_t& elements) {
  const Kind kind = kind_of(in, key);
  if (kind != Kind::Array) return value_of(in, kind);
  const Kind element = kind_of(in, key);
  const auto count = in.take<uint64_t>("an array's length");
  SWAGE_CHECK(count <= in.left() && count <= kMostElements - elements, CorruptData, in.source(), ": key ", quoted(key),
              " claims ", count, " elements of an array");
  elements += count;
  Json::Array out;
  for (uint64_t i = 0; i < count; ++i) out.push_back(value_of(in, element));
  return out;
}

Json read_keys(Cursor& in, uint64_t count) {
  SWAGE_CHECK(count <= kMostKeys, CorruptData, in.source(), ": ", count, " keys, expected at most ", kMostKeys);
  std::set<std::string> seen;
  uint64_t elements = 0;
  Json::Object out;
  for (uint64_t i = 0; i < count; ++i) {
    std::string key = in.text("a key");
    SWAGE_CHECK(seen.insert(key).second, CorruptData, in.source(), ": key ", quoted(key), " comes twice");
    Json value = read_value(in, key, elements);
    out.emplace_back(std::move(key), std::move(value));
  }
  return out;
}

GgufTensor read_tensor(Cursor& in) {
  GgufTensor out;
  out.name = in.text("a tensor's name");
  const auto dimensions = in.take<uint32_t>("a tensor's dimensions");
  SWAGE_CHECK(dimensions > 0 && dimensions <= kMostDimensions, CorruptData, in.source(), ": tensor ", quoted(out.name),
              " has ", dimensions, " dimensions, expected 1 to ", kMostDimensions);
  uint64_t elements = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = in.take<uint64_t>("a tensor's dimensions");
    SWAGE_CHECK(size > 0 && size <= (uint64_t{1} << 60) / elements, CorruptData, in.source(), ": tensor ",
                quoted(out.name), " has a dimension of ", size);
    elements *= size;
    out.shape.insert(out.shape.begin(), int64_t(size));
  }
  const auto type = in.take<uint32_t>("a tensor's type");
  out.type = gguf_type(type);
  SWAGE_CHECK(out.type != nullptr, Unsupported, in.source(), ": tensor ", quoted(out.name), " has the type ", type,
              ", which is not known");
  SWAGE_CHECK(out.shape.back() % out.type->block == 0, CorruptData, in.source(), ": tensor ", quoted(out.name),
              " has rows of ", out.shape.back(), " elements, no multiple of the ", out.type->block, " of a block of ",
              out.type->name);
  out.bytes = elements / uint64_t(out.type->block) * uint64_t(out.type->bytes);
  out.offset = in.take<uint64_t>("a tensor's offset");
  return out;
}

uint64_t alignment_of(const Json& keys, std::string_view source) {
  const Json* value = keys.find("general.alignment");
  if (value == nullptr) return 32;
  SWAGE_CHECK(value->is_int() && value->as_int() > 0 && uint64_t(value->as_int()) <= kMostAlignment &&
                  std::has_single_bit(uint64_t(value->as_int())),
              CorruptData, source, ": general.alignment ", value->dump(), ": expected a power of two");
  return uint64_t(value->as_int());
}

// Offsets become those of the file. Tensors must lie in it one behind the other, in whatever order.
void place(std::vector<GgufTensor>& tensors, uint64_t data, uint64_t alignment, const Cursor& in, uint64_t file) {
  std::vector<GgufTensor*> order;
  std::set<std::string_view> names;
  for (GgufTensor& tensor : tensors) {
    SWAGE_CHECK(names.insert(tensor.name).second, CorruptData, in.source(), ": tensor ", quoted(tensor.name),
                " comes twice");
    SWAGE_CHECK(tensor.offset % alignment == 0, CorruptData, in.source(), ": tensor ", quoted(tensor.name), " lies at ",
                tensor.offset, ", no multiple of ", alignment);
    SWAGE_CHECK(data <= file && tensor.offset <= file - data && tensor.bytes <= file - data - tensor.offset,
                CorruptData, in.source(), ": tensor ", quoted(tensor.name), " of ", tensor.bytes, " bytes at ",
                tensor.offset, " ends behind the file: it is truncated or its header wrong");
    tensor.offset += data;
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i)
    SWAGE_CHECK(order[i - 1]->offset + order[i - 1]->bytes <= order[i]->offset, CorruptData, in.source(), ": tensors ",
                quoted(order[i - 1]->name), " and ", quoted(order[i]->name), " overlap");
}

int64_t positive(const Json& keys, std::string_view key) {
  const Json* value = keys.find(key);
  return value != nullptr && value->is_int() ? value->as_int() : 0;
}

// "NAME-00002-of-00003.gguf" for number 1.
fs::path split_path(const fs::path& first, int64_t number, int64_t count) {
  const auto padded = [](int64_t value) {
    const std::string digits = cat(value);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  const std::string name = first.filename().string(), tail = cat("-", padded(1), "-of-", padded(count), ".gguf");
  SWAGE_CHECK(name.ends_with(tail), InvalidArgument, first.string(), ": one of ", count,
              " files; give the first, whose name ends in ", tail);
  return first.parent_path() /
         cat(name.substr(0, name.size() - tail.size()), "-", padded(number + 1), "-of-", padded(count), ".gguf");
}

}  // namespace

const GgufType* gguf_type(uint32_t id) {
  const auto* found = std::find_if(kTypes.begin(), kTypes.end(), [&](const GgufType& type) { return type.id == id; });
  return found == kTypes.end() ? nullptr : found;
}

GgufHeader parse_gguf(std::string_view contents, std::string_view source) {
  SWAGE_CHECK(contents.starts_with("GGUF"), CorruptData, source, ": does not begin with \"GGUF\"");
  Cursor in(contents, source);
  in.bytes(4, "its beginning");
  const auto version = in.take<uint32_t>("its version");
  SWAGE_CHECK(version == 2 || version == 3, Unsupported, source, ": GGUF of version ", version,
              version == 1 ? ", of the year 2023; llama.cpp of that time can rewrite it"
              : version > 0xFFFF && (version & 0xFFFF) == 0 ? ", big endian"
                                                            : "",
              "; versions 2 and 3 are read");
  GgufHeader out;
  out.version = version;
  const auto tensors = in.take<uint64_t>("its number of tensors"), keys = in.take<uint64_t>("its number of keys");
  SWAGE_CHECK(tensors <= kMostTensors, CorruptData, source, ": ", tensors, " tensors, expected at most ", kMostTensors);
  out.keys = read_keys(in, keys);
  for (uint64_t i = 0; i < tensors; ++i) out.tensors.push_back(read_tensor(in));
  const uint64_t alignment = alignment_of(out.keys, source);
  place(out.tensors, (in.at() + alignment - 1) / alignment * alignment, alignment, in, contents.size());
  return out;
}

GgufFile::GgufFile(const fs::path& path) : path_(path) {
  add(path);
  const int64_t count = positive(keys_, "split.count");
  SWAGE_CHECK(count <= 99999, CorruptData, path.string(), ": split.count ", count);
  for (int64_t number = 1; number < count; ++number) {
    const fs::path next = split_path(path, number, count);
    SWAGE_CHECK(fs::exists(next), Io, next.string(), ": is missing, one of ", count, " files");
    add(next);
  }
  std::vector<size_t> order(tensors_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return tensors_[a].name < tensors_[b].name; });
  std::vector<GgufTensor> sorted;
  std::vector<size_t> files;
  for (const size_t i : order) {
    SWAGE_CHECK(sorted.empty() || sorted.back().name != tensors_[i].name, CorruptData, path.string(), ": tensor ",
                quoted(tensors_[i].name), " is in two files");
    sorted.push_back(std::move(tensors_[i]));
    files.push_back(file_of_[i]);
  }
  tensors_ = std::move(sorted);
  file_of_ = std::move(files);
}

void GgufFile::add(const fs::path& path) {
  files_.emplace_back(path);
  GgufHeader header = parse_gguf(files_.back().bytes(), path.string());
  if (files_.size() == 1) keys_ = std::move(header.keys);
  for (GgufTensor& tensor : header.tensors) {
    tensors_.push_back(std::move(tensor));
    file_of_.push_back(files_.size() - 1);
  }
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto at = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                   [](const auto& tensor, std::string_view n) { return tensor.name < n; });
  return at == tensors_.end() || at->name != name ? nullptr : &*at;
}

std::string_view GgufFile::bytes(const GgufTensor& tensor) const {
  const MmapFile& file = files_[file_of_[size_t(&tensor - tensors_.data())]];
  file.check_size();
  return file.bytes().substr(tensor.offset, tensor.bytes);
}

void GgufFile::drop(const GgufTensor& tensor) const {
  files_[file_of_[size_t(&tensor - tensors_.data())]].dont_need(tensor.offset, tensor.bytes);
}

uint64_t GgufFile::file_bytes() const {
  uint64_t out = 0;
  for (const MmapFile& file : files_) out += file.size();
  return out;
}

}  // namespace swage::io
