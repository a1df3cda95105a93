// Choices of single values that the plain twins and the GPU's kernels make by the same text.
#pragma once
#include "swage/kernels/kernels.h"

namespace swage::kernels {

SWAGE_HOST_DEVICE inline float round_to_code(float t, const CodeRange& range) {
  return round_to_code_value(range.kind, std::min(std::max(t, range.min), range.max));
}

// What a scale search tries: the range [low, high] times `factor`.
struct Candidate {
  float scale, zero;
};
SWAGE_HOST_DEVICE inline Candidate scale_candidate(float low, float high, float factor, bool symmetric, float divisor,
                                                   const ScaleRule& rule, const CodeRange& range) {
  const float width = (symmetric ? std::max(-low, high) : high - low) * factor;
  const float scale = stored_scale(rule, width / divisor, width);
  if (symmetric) return {scale, 0};
  return {scale, std::nearbyint(std::min(std::max(range.min - low * factor / scale, range.min), range.max))};
}

SWAGE_HOST_DEVICE inline uint16_t bf16_bits(float x) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(round_to_bf16(x)) >> 16);
}

}  // namespace swage::kernels
