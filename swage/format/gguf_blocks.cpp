#include "swage/format/gguf_blocks.h"

#include <ATen/ops/empty.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Float8_e4m3fn.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::format {
namespace {

// Layouts and orders of elements: docs/formats.md, "GGUF". A decoder writes the elements of one block; products are
// rounded one by one, in the order in which ggml has them.
using Decoder = void (*)(const uint8_t* block, float* to);

// Twice the values of E2M1.
constexpr std::array<float, 16> kE2M1Doubled = {0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12};
// IQ4's: uneven, denser around 0.
constexpr std::array<float, 16> kIq4 = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

float half_at(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return c10::detail::fp16_ieee_to_fp32_value(bits);
}

float low(uint8_t byte) { return float(byte & 15); }
float high(uint8_t byte) { return float(byte >> 4); }

void q4_0(const uint8_t* block, float* to) {
  const float d = half_at(block);
  for (int j = 0; j < 16; ++j) {
    to[j] = (low(block[2 + j]) - 8) * d;
    to[j + 16] = (high(block[2 + j]) - 8) * d;
  }
}

void q4_1(const uint8_t* block, float* to) {
  const float d = half_at(block), m = half_at(block + 2);
  for (int j = 0; j < 16; ++j) {
    to[j] = low(block[4 + j]) * d + m;
    to[j + 16] = high(block[4 + j]) * d + m;
  }
}

// The fifth bit of element j.
float fifth(const uint8_t* bits, int j) { return float((bits[j / 8] >> (j % 8) & 1) * 16); }

void q5_0(const uint8_t* block, float* to) {
  const float d = half_at(block);
  for (int j = 0; j < 16; ++j) {
    to[j] = (low(block[6 + j]) + fifth(block + 2, j) - 16) * d;
    to[j + 16] = (high(block[6 + j]) + fifth(block + 2, j + 16) - 16) * d;
  }
}

void q5_1(const uint8_t* block, float* to) {
  const float d = half_at(block), m = half_at(block + 2);
  for (int j = 0; j < 16; ++j) {
    to[j] = (low(block[8 + j]) + fifth(block + 4, j)) * d + m;
    to[j + 16] = (high(block[8 + j]) + fifth(block + 4, j + 16)) * d + m;
  }
}

void q8_0(const uint8_t* block, float* to) {
  const float d = half_at(block);
  for (int j = 0; j < 32; ++j) to[j] = float(int8_t(block[2 + j])) * d;
}

// Two bits of element i of 256, of which each 32 bytes hold 128: shift 0 the first 32, then 2, 4, 6.
int two_bits(const uint8_t* codes, int i) { return codes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }

void q2_k(const uint8_t* block, float* to) {
  const uint8_t *scales = block, *codes = block + 16;
  const float d = half_at(block + 80), dmin = half_at(block + 82);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * low(scales[i / 16]), minimum = dmin * high(scales[i / 16]);
    to[i] = scale * float(two_bits(codes, i)) - minimum;
  }
}

void q3_k(const uint8_t* block, float* to) {
  const uint8_t *third = block, *codes = block + 32, *s = block + 96;
  const float d = half_at(block + 108);
  for (int i = 0; i < 256; ++i) {
    const int group = i / 16;
    const int four = group < 8 ? s[group] & 15 : s[group - 8] >> 4, two = s[8 + group % 4] >> (group / 4 * 2) & 3;
    const bool is_high = (third[i % 32] >> (i / 32) & 1) != 0;
    to[i] = d * float((four | two << 4) - 32) * float(two_bits(codes, i) - (is_high ? 0 : 4));
  }
}

// Scale and minimum number i of the eight of a block of Q4_K or Q5_K.
std::pair<int, int> six_bits(const uint8_t* s, int i) {
  if (i < 4) return {s[i] & 63, s[i + 4] & 63};
  return {(s[i + 4] & 15) | (s[i - 4] >> 6) << 4, (s[i + 4] >> 4) | (s[i] >> 6) << 4};
}

// Of each 64 elements the first 32 lie in the low halves of 32 bytes.
int nibble(const uint8_t* codes, int i) {
  const uint8_t byte = codes[i / 64 * 32 + i % 32];
  return i % 64 < 32 ? byte & 15 : byte >> 4;
}

template <bool kFive>
void q4_or_q5_k(const uint8_t* block, float* to) {
  const float d = half_at(block), dmin = half_at(block + 2);
  const uint8_t *fifths = block + 16, *codes = block + (kFive ? 48 : 16);
  for (int i = 0; i < 256; ++i) {
    const auto [scale, minimum] = six_bits(block + 4, i / 32);
    const int more = kFive ? (fifths[i % 32] >> (i / 32) & 1) * 16 : 0;
    to[i] = d * float(scale) * float(nibble(codes, i) + more) - dmin * float(minimum);
  }
}

void q6_k(const uint8_t* block, float* to) {
  const uint8_t *lows = block, *highs = block + 128;
  const float d = half_at(block + 208);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, j = i % 128;
    const uint8_t byte = lows[half * 64 + j % 64];
    const int code = (j < 64 ? byte & 15 : byte >> 4) | (highs[half * 32 + j % 32] >> (j / 32 * 2) & 3) << 4;
    to[i] = d * float(int8_t(block[192 + i / 16])) * float(code - 32);
  }
}

void iq4_nl(const uint8_t* block, float* to) {
  const float d = half_at(block);
  for (int j = 0; j < 16; ++j) {
    to[j] = d * kIq4[block[2 + j] & 15];
    to[j + 16] = d * kIq4[block[2 + j] >> 4];
  }
}

void iq4_xs(const uint8_t* block, float* to) {
  const float d = half_at(block);
  for (int group = 0; group < 8; ++group) {
    const int four = block[4 + group / 2] >> (group % 2 * 4) & 15, two = block[2 + group / 4] >> (group % 4 * 2) & 3;
    const float scale = d * float((four | two << 4) - 32);
    for (int j = 0; j < 16; ++j) {
      const uint8_t byte = block[8 + group * 16 + j];
      to[group * 32 + j] = scale * kIq4[byte & 15];
      to[group * 32 + j + 16] = scale * kIq4[byte >> 4];
    }
  }
}

// Digit n, from the top, of a byte that holds five of base 3 as a fraction of 256.
float digit(uint8_t byte, int n) {
  constexpr std::array<int, 5> kPowers = {1, 3, 9, 27, 81};
  return float((uint8_t(byte * kPowers[size_t(n)]) * 3 >> 8) - 1);
}

void tq1_0(const uint8_t* block, float* to) {
  const float d = half_at(block + 52);
  const auto part = [&](int first, int bytes, int digits) {
    for (int n = 0; n < digits; ++n)
      for (int j = 0; j < bytes; ++j) *to++ = digit(block[first + j], n) * d;
  };
  part(0, 32, 5);
  part(32, 16, 5);
  part(48, 4, 4);
}

void tq2_0(const uint8_t* block, float* to) {
  const float d = half_at(block + 64);
  for (int i = 0; i < 256; ++i) to[i] = float(two_bits(block, i) - 1) * d;
}

void mxfp4(const uint8_t* block, float* to) {
  const float half = std::ldexp(1.0f, int(block[0]) - 128);
  for (int j = 0; j < 16; ++j) {
    to[j] = kE2M1Doubled[block[1 + j] & 15] * half;
    to[j + 16] = kE2M1Doubled[block[1 + j] >> 4] * half;
  }
}

void nvfp4(const uint8_t* block, float* to) {
  for (int group = 0; group < 4; ++group) {
    const float half = float(c10::Float8_e4m3fn(block[group], c10::Float8_e4m3fn::from_bits())) * 0.5f;
    for (int j = 0; j < 8; ++j) {
      const uint8_t byte = block[4 + group * 8 + j];
      to[group * 16 + j] = kE2M1Doubled[byte & 15] * half;
      to[group * 16 + j + 8] = kE2M1Doubled[byte >> 4] * half;
    }
  }
}

void q1_0(const uint8_t* block, float* to) {
  const float d = half_at(block);
  for (int i = 0; i < 128; ++i) to[i] = (block[2 + i / 8] >> (i % 8) & 1) != 0 ? d : -d;
}

void q2_0(const uint8_t* block, float* to) {
  const float d = half_at(block);
  for (int i = 0; i < 64; ++i) to[i] = float((block[2 + i / 4] >> (i % 4 * 2) & 3) - 1) * d;
}

template <class T>
void plain(const uint8_t* block, float* to) {
  T value;
  std::memcpy(static_cast<void*>(&value), block, sizeof value);
  *to = static_cast<float>(value);
}

Decoder decoder_of(std::string_view name) {
  constexpr auto kDecoders = std::to_array<std::pair<std::string_view, Decoder>>({
      {"F32", plain<float>},
      {"F16", plain<c10::Half>},
      {"BF16", plain<c10::BFloat16>},
      {"F64", plain<double>},
      {"I8", plain<int8_t>},
      {"I16", plain<int16_t>},
      {"I32", plain<int32_t>},
      {"I64", plain<int64_t>},
      {"Q4_0", q4_0},
      {"Q4_1", q4_1},
      {"Q5_0", q5_0},
      {"Q5_1", q5_1},
      {"Q8_0", q8_0},
      {"Q2_K", q2_k},
      {"Q3_K", q3_k},
      {"Q4_K", q4_or_q5_k<false>},
      {"Q5_K", q4_or_q5_k<true>},
      {"Q6_K", q6_k},
      {"IQ4_NL", iq4_nl},
      {"IQ4_XS", iq4_xs},
      {"TQ1_0", tq1_0},
      {"TQ2_0", tq2_0},
      {"MXFP4", mxfp4},
      {"NVFP4", nvfp4},
      {"Q1_0", q1_0},
      {"Q2_0", q2_0},
  });
  const auto* found =
      std::find_if(kDecoders.begin(), kDecoders.end(), [&](const auto& one) { return one.first == name; });
  return found == kDecoders.end() ? nullptr : found->second;
}

}  // namespace

bool decodes_gguf(const io::GgufType& type) { return decoder_of(type.name) != nullptr; }

bool is_plain_gguf(const io::GgufType& type) { return type.block == 1; }

at::Tensor decode_gguf(const io::GgufType& type, std::string_view blocks, const std::vector<int64_t>& shape) {
  const Decoder decode = decoder_of(type.name);
  SWAGE_CHECK(decode != nullptr, Unsupported, "GGUF's ", type.name,
              " is not decoded; Q, K, IQ4, TQ, MXFP4 and NVFP4 types are");
  at::Tensor out = at::empty(shape, at::kFloat);
  const int64_t count = out.numel() / type.block;
  SWAGE_CHECK(int64_t(blocks.size()) == count * type.bytes && count * type.block == out.numel(), Internal,
              "decode_gguf: ", blocks.size(), " bytes for ", out.numel(), " elements of ", type.name);
  const auto* from = reinterpret_cast<const uint8_t*>(blocks.data());
  float* to = out.mutable_data_ptr<float>();
  constexpr int64_t kBlocks = 1 << 12;  // a task's
  ops::parallel_tasks((count + kBlocks - 1) / kBlocks, [] { return 0; },
                      [&](int64_t task, int) {
                        const int64_t end = std::min(count, (task + 1) * kBlocks);
                        for (int64_t b = task * kBlocks; b < end; ++b)
                          decode(from + b * type.bytes, to + b * type.block);
                      });
  return out;
}

}  // namespace swage::format
