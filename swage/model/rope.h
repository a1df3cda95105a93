// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) in the half-split form of Hugging Face checkpoints: element
// i of a head turns together with element i + E/2. Scalings: linear, dynamic NTK, llama3, YaRN (arXiv:2309.00071).
//
// T tokens, H heads, E head size, F = E/2 frequencies.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>
#include <vector>

namespace swage::model {

enum class RopeKind { Default, Linear, Dynamic, Llama3, Yarn };

struct RopeDescription {
  RopeKind kind = RopeKind::Default;
  int64_t head_size = 0;
  double theta = 10000;
  double factor = 1;                                 // all but Default
  int64_t max_positions = 0;                         // Dynamic: the base grows with sequences longer than this
  int64_t original_positions = 0;                    // Llama3, Yarn: length before the context was extended
  double low_freq_factor = 1, high_freq_factor = 4;  // Llama3
  double beta_fast = 32, beta_slow = 1;              // Yarn
  bool truncate = true;                              // Yarn: correction range in whole dimensions
  double attention_factor = 1;                       // Yarn: scales cos and sin
};

// Angle per position of each of the F frequencies. `length`: tokens of the sequence so far, for Dynamic.
std::vector<float> inverse_frequencies(const RopeDescription& rope, int64_t length);
// The factor that YaRN puts on cos and sin where the config gives none; 0 stands for an absent mscale.
double yarn_attention_factor(double factor, double mscale, double mscale_all_dim);

struct RopeTable {
  at::Tensor cos_TF, sin_TF;  // float32
};

// Tables of one model, made when first asked for and grown as needed. Thread-safe.
class Rope {
 public:
  Rope(const RopeDescription& description, at::Device device) : description_(description), device_(device) {}
  // Rows for the positions [position, position + count) of a sequence that has position + count tokens so far.
  RopeTable table(int64_t position, int64_t count) const;

 private:
  const RopeDescription description_;
  const at::Device device_;
  mutable std::mutex mutex_;
  mutable RopeTable table_;
  mutable int64_t rows_ = 0;
};

// Rotates every head of x [T, H, E] in place.
void rotate_(at::Tensor& x_THE, const RopeTable& table);

}  // namespace swage::model
