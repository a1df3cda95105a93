// The safetensors header: 8 bytes little-endian length n, n bytes of JSON in UTF-8, then the tensors' data without
// gaps.
//   {"__metadata__": {"format": "pt"}, "NAME": {"dtype": "BF16", "shape": [64, 128], "data_offsets": [0, 16384]}, ...}
// Offsets count from the end of the JSON. The JSON may be padded with trailing spaces.
// Source: https://github.com/huggingface/safetensors (README and src/tensor.rs, 0.8).
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/io/tensor_spec.h"

namespace swage::io {

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

struct StoredTensor {
  TensorSpec spec;
  uint64_t offset = 0;  // of the first byte, from the start of the file
  uint64_t bytes = 0;
};

struct SafetensorsHeader {
  uint64_t bytes = 0;                 // length field and JSON: where the data starts
  std::vector<StoredTensor> tensors;  // in the order of their data
  SafetensorsMetadata metadata;       // in the order of the file
};

// Reads and checks the header of a whole file's `contents` (a map: the data is not touched). `source` names the file in
// errors. Error(CorruptData) unless every rule of the format holds: the length fits the file and 100 MB, the JSON
// starts with '{', is strict and has no duplicate key (but in __metadata__, where the last one counts), every entry has
// exactly dtype, shape and data_offsets, each tensor's bytes are those of its shape, and the tensors fill the rest of
// the file without gap or overlap.
SafetensorsHeader parse_safetensors_header(std::string_view contents, std::string_view source);

// The header (length field and JSON, a multiple of 8 bytes long) of a file with these tensors' data in this order. Same
// input, same bytes. Error(InvalidArgument) for a name given twice or reserved, or more than 100 MB.
std::string safetensors_header(const std::vector<TensorSpec>& tensors,
                               const SafetensorsMetadata& metadata = {{"format", "pt"}});

}  // namespace swage::io
