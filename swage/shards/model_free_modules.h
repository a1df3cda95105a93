// What a checkpoint's tensors say of its modules, without a model: two-dimensional "*.weight" tensors are linears, but
// for embeddings, norms, routers and heads, which are told by name; experts stored as 3-D tensors are linears of their
// own.
#pragma once
#include <string>
#include <vector>

#include "swage/checkpoint/reader.h"
#include "swage/model/model.h"

namespace swage::pipeline {

// A module and where its weight [rows, columns] lies in a tensor of the source.
struct SourceModule {
  model::ModuleInfo info;
  std::string tensor;  // empty: the source has none (a head tied to the embedding, a module that is quantized already)
  io::Dtype stored = io::Dtype::BF16;  // of the tensor
  io::Dtype dtype = io::Dtype::BF16;   // in which it is worked on: f32 for f64, else the same
  uint64_t offset = 0;                 // bytes from the tensor's first one to the weight's
  int64_t stride = 0;                  // elements from one row to the next; from one column to the next if `transposed`
  bool transposed = false;             // stored as [columns, rows]
  bool is_quantized = false;
  std::string obstacle;  // why it cannot be quantized; empty: it can
};

struct SourceModules {
  std::vector<SourceModule> modules;  // numbers in names in numeric order; outermost modules last
  bool tied_embeddings = false;
  bool has_head = false;  // false: the module "lm_head" is here without a tensor, for patterns to match
  bool has_embedding = false;
  std::vector<std::string> warnings;  // tensors that look like experts and are not understood
};

// Routers, heads and embeddings are quantizable only where `exact_targets` holds their very name.
SourceModules find_modules(const checkpoint::Reader& reader, const std::vector<std::string>& exact_targets);

// Reads rows first .. first + count of the weight into `to`, without the map; as module.stored.
void read_stored_rows(const checkpoint::Reader& reader, const SourceModule& module, int64_t first, int64_t count,
                      char* to);
// The same as module.dtype.
void read_rows(const checkpoint::Reader& reader, const SourceModule& module, int64_t first, int64_t count, char* to);

}  // namespace swage::pipeline
