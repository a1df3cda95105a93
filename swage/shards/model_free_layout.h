// The pieces a model-free run is made of: every tensor of the source as an item that is copied, or as the modules made
// of it, each cut into chunks of rows. Any chunk can be done by itself.
#pragma once
#include <string>
#include <vector>

#include "swage/checkpoint/reader.h"
#include "swage/format/format.h"
#include "swage/resolve/assignment.h"
#include "swage/shards/model_free_modules.h"

namespace swage::pipeline {

// A tensor of the output. The rows of a module make up consecutive bytes of it, or (weight_shape) it does not depend on
// them.
struct OutputTensor {
  io::TensorSpec spec;
  uint64_t bytes = 0;
  uint64_t bytes_per_chunk = 0;  // 0: all of it belongs to the first chunk
};

struct FreeItem {
  const SourceModule* module = nullptr;  // nullptr: `tensor` is copied
  const scheme::Scheme* scheme =
      nullptr;                        // nullptr: copied; with a module, that module's rows, as a tensor of their own
  std::string tensor;                 // of the source
  std::vector<OutputTensor> outputs;  // in the order of Format::pack
  int64_t rows = 0;                   // bytes where it is copied
  int64_t chunk_rows = 0;
  int64_t first_chunk = 0;  // its number among all chunks

  int64_t chunks() const { return rows == 0 ? 1 : (rows + chunk_rows - 1) / chunk_rows; }
};

// The part of an output tensor that a chunk writes; no bytes if none.
struct Piece {
  uint64_t offset = 0, bytes = 0;
};

struct FreeLayout {
  std::vector<FreeItem> items;  // in the order in which the source's files hold them
  int64_t chunks = 0;
  std::vector<io::TensorSpec> tensors() const;
  const FreeItem& item_of(int64_t chunk) const;
  Piece piece(const FreeItem& item, const OutputTensor& output, int64_t chunk) const;
  uint64_t source_bytes = 0, output_bytes = 0, quantized_bytes = 0;
  uint64_t largest_chunk_bytes = 0;  // of the source
};

FreeLayout free_layout(const checkpoint::Reader& reader, const SourceModules& modules, const Assignment& assignment);

}  // namespace swage::pipeline
