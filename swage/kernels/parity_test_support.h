// What the parity tests share, and those that stand in files of their own.
#pragma once
#include <cstdint>
#include <random>
#include <vector>

namespace swage::kernels {

// Numbers whose memory is aligned to 64 bytes.
template <class T>
class Aligned {
 public:
  explicit Aligned(int64_t count) : memory_(static_cast<size_t>(count) + 64 / sizeof(T), T{}) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    data_ = memory_.data() + (64 - address % 64) % 64 / sizeof(T);
  }
  Aligned(const Aligned&) = delete;
  T* data() { return data_; }
  T& operator[](int64_t i) { return data_[i]; }

 private:
  std::vector<T> memory_;
  T* data_;
};

inline void fill_noise(float* data, int64_t count, unsigned seed, float size = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> noise(0.0f, size);
  for (int64_t i = 0; i < count; ++i) data[i] = noise(random);
}

void gram_pack_parity();
void gram_tile_parity();
void gram_pack_planes_parity();
void gram_plane_tile_parity();
void quantize_planes_parity();
void plane_product_parity();
void prune_gather_parity();
void prune_panel_parity();
void sparse_refit_panel_parity();
void refine_panel_parity();
void rms_norm_parity();
void silu_multiply_parity();
void rotate_heads_parity();
void softmax_rows_parity();
void largest_size_parity();
void column_ranges_parity();
void round_to_integers_parity();
void round_to_e4m3_parity();
void round_to_e2m1_parity();
void split_blocks_parity();
void packed_product_parity();
void row_product_parity();
void dot_rows_parity();
void block_scores_parity();
void block_values_parity();
void score_weights_parity();

}  // namespace swage::kernels
