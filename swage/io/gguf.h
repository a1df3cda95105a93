// GGUF, versions 2 and 3, little endian: "GGUF", u32 version, u64 tensors, u64 keys; each key a string, a type and a
// value; each tensor a string, its dimensions (innermost first), a type of blocks and an offset; then the data, every
// tensor at a multiple of general.alignment. Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/json.h"
#include "swage/io/mmap_file.h"

namespace swage::io {

// How the elements of a tensor are stored: blocks of so many elements in so many bytes.
struct GgufType {
  uint32_t id;
  const char* name;  // "Q4_0"
  int64_t block, bytes;
};
const GgufType* gguf_type(uint32_t id);  // null if there is none

struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;  // outermost first, as everywhere here
  const GgufType* type = nullptr;
  uint64_t offset = 0;  // from the start of its file
  uint64_t bytes = 0;
};

struct GgufHeader {
  int64_t version = 0;
  Json keys;  // an object: {"general.architecture": "llama", ...}
  std::vector<GgufTensor> tensors;
};

// Reads and checks the beginning of a whole file's `contents` (a map: the data is not touched). Error(CorruptData)
// unless counts, lengths and offsets fit the file, texts are UTF-8, names come once, rows are whole blocks, and tensors
// are aligned and do not overlap; Error(Unsupported) for version 1, big-endian files and types that are not known.
GgufHeader parse_gguf(std::string_view contents, std::string_view source);

// A model in a file, or in all files of a split one ("NAME-00001-of-00003.gguf"). Thread-safe after construction.
class GgufFile {
 public:
  // Error(Io) if a file is missing, else as parse_gguf().
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const Json& keys() const { return keys_; }                           // of the first file
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // sorted by name
  const GgufTensor* find(std::string_view name) const;
  // The tensor's blocks in the map, valid while this object lives. Error(Io) if the file shrank meanwhile.
  std::string_view bytes(const GgufTensor& tensor) const;
  void drop(const GgufTensor& tensor) const;  // its pages, from this process
  uint64_t file_bytes() const;

 private:
  void add(const std::filesystem::path& path);

  std::filesystem::path path_;
  std::vector<MmapFile> files_;
  Json keys_;
  std::vector<GgufTensor> tensors_;
  std::vector<size_t> file_of_;  // beside tensors_
};

}  // namespace swage::io
