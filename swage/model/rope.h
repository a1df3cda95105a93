// Rotary position embedding (Su et al. 2021, arXiv:2104.09864): numbers i and i + R/2 of the R that turn, or with
// `interleaved` 2i and 2i + 1, turn together. Scalings: linear, dynamic NTK, llama3, YaRN (arXiv:2309.00071), LongRoPE
// (arXiv:2402.13753).
//
// T tokens, H heads, E head size, F = R/2 frequencies.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>
#include <vector>

#include "swage/graph/rope_spec.h"

namespace swage::model {

using graph::RopeKind, graph::RopeSpec;

// Angle per position of each of the F frequencies. `length`: tokens of the sequence so far, for Dynamic and LongRope.
std::vector<float> inverse_frequencies(const RopeSpec& rope, int64_t length);
// The factor that YaRN puts on cos and sin where the config gives none; 0 stands for an absent mscale.
double yarn_attention_factor(double factor, double mscale, double mscale_all_dim);

struct RopeTable {
  at::Tensor cos_TF, sin_TF;  // float32
};

// Tables of one model, made when first asked for and grown as needed. Thread-safe.
class Rope {
 public:
  Rope(const RopeSpec& spec, at::Device device) : spec_(spec), device_(device) {}
  // Rows for the positions [position, position + count) of a sequence that has position + count tokens so far.
  RopeTable table(int64_t position, int64_t count) const { return table(position, count, position + count); }
  // Turns numbers [first, first + R) of every head of x [T, H, E] in place; token 0 stands at `position`.
  void rotate_(at::Tensor& x_THE, int64_t position, int64_t first = 0) const;
  // The same of a sequence whose first `known` tokens were there at once, while the others came one by one: the same
  // for every cut of it.
  void rotate_known_(at::Tensor& x_THE, int64_t position, int64_t known, int64_t first) const;
  // Sequences of up to so many tokens have the same tables; 0: all have.
  int64_t same_up_to() const;

 private:
  RopeTable table(int64_t position, int64_t count, int64_t length) const;
  void rotate_with(at::Tensor x_THE, const RopeTable& table, int64_t first) const;

  const RopeSpec spec_;
  const at::Device device_;
  mutable std::mutex mutex_;
  mutable RopeTable table_;
  mutable int64_t rows_ = 0;
  mutable bool long_ = false;  // LongRope: which factors the table has
};

}  // namespace swage::model
