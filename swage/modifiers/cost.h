// What a modifier takes beside the weights and statistics that it is given: for planning, from shapes alone.
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "swage/scheme/quantization.h"

namespace swage::modifiers {

// Bytes of a block below which the allocator keeps it when it is freed (M_MMAP_THRESHOLD of the program), until the
// layer is done.
inline constexpr double kKeptBelow = 4 << 20;

// A linear that is to be worked on. O rows, I columns.
struct LinearShape {
  int64_t rows = 0, columns = 0;
  const scheme::QuantizationArgs* weights = nullptr;  // null: it stays dense
};

struct Cost {
  uint64_t scratch_bytes = 0;  // on the host unless `on_device`, the most at once, results included
  double flops = 0;            // of products and factorizations, in the units of f32: f64 counts twice
  double passes = 0;           // over f32 weights, outside of products: each weight once is its rows times columns
  bool on_device = false;      // the scratch is on the GPU: the modifier computes there
  uint64_t small_bytes =
      0;  // of the scratch, in blocks that are small enough for the allocator to keep them, see kKeptBelow

  Cost& operator+=(const Cost& other) {
    scratch_bytes = scratch_bytes > other.scratch_bytes ? scratch_bytes : other.scratch_bytes;
    small_bytes = small_bytes > other.small_bytes ? small_bytes : other.small_bytes;
    on_device = on_device || other.on_device;
    flops += other.flops;
    passes += other.passes;
    return *this;
  }
};

// How a call is made.
struct CostSetting {
  bool calibrated = false;  // with statistics of the input
  int threads = 1;          // that the call may use
  bool on_device = false;   // weights and statistics lie on a GPU
};

// Weights of all linears, of the largest, and columns of the first: they read one input.
struct GroupSize {
  double all = 0, largest = 0, columns = 0;
};
GroupSize size_of(std::span<const LinearShape> linears);

// Of finding ranges, rounding and measuring errors, shared by all that round: `search` for scales with the least error.
Cost rounding_cost(std::span<const LinearShape> linears, bool search, const CostSetting& setting);

}  // namespace swage::modifiers
