// Rotary position embedding as a config describes it. model/rope.h computes it.
#pragma once
#include <cstdint>
#include <vector>

namespace swage::graph {

enum class RopeKind { Default, Linear, Dynamic, Llama3, Yarn, LongRope, Proportional };

struct RopeSpec {
  RopeKind kind = RopeKind::Default;
  int64_t size = 0;  // numbers of a head that turn, two by two
  double theta = 10000;
  double factor = 1;                                 // all but Default and LongRope
  int64_t max_positions = 0;                         // Dynamic: the base grows with sequences longer than this
  int64_t original_positions = 0;                    // Llama3, Yarn, LongRope: length before the context was extended
  double share = 1;                                  // Proportional: of the pairs, the first so many turn
  double low_freq_factor = 1, high_freq_factor = 4;  // Llama3
  double beta_fast = 32, beta_slow = 1;              // Yarn
  bool truncate = true;                              // Yarn: correction range in whole dimensions
  double attention_factor = 1;                       // Yarn, LongRope: scales cos and sin
  double long_attention_factor = 1;                  // LongRope: the same beyond original_positions
  std::vector<double>
      short_factors = {},
      long_factors = {};  // LongRope: divide the frequencies of sequences up to original_positions, and of longer ones
  bool interleaved = false;  // numbers 2i and 2i + 1 turn together, not i and i + size/2

  bool operator==(const RopeSpec&) const = default;
};

}  // namespace swage::graph
