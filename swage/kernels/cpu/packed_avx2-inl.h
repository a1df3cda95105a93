// Products on packed codes with AVX2: eight rows of a panel at a time. vpmaddubsw multiplies codes of 0 .. 24 with four
// activations and adds pairs in int16, which holds the sums of a run of columns: 15 * 128 * 2 * 8 and 24 * 128 * 2 * 4
// are below 2^15. Codes of eight bits are taken as two halves. Included once per instruction set by packed_product.cpp.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

HWY_INLINE __m256i four_of(const int8_t* x) {
  int32_t bits;
  std::memcpy(&bits, x, sizeof bits);
  return _mm256_set1_epi32(bits);
}

// Codes of eight rows and eight columns, four columns to a register; of eight bits: their low halves, then their high
// ones.
template <PackedCode kKind>
struct EightRows {
  __m256i first, second, upper_first, upper_second;

  HWY_INLINE explicit EightRows(const uint8_t* codes) {
    const __m256i mask = _mm256_set1_epi8(15);
    const __m256i a = _mm256_load_si256(reinterpret_cast<const __m256i*>(codes)), a_high = _mm256_srli_epi16(a, 4);
    if constexpr (kKind == PackedCode::U8) {
      const __m256i b = _mm256_load_si256(reinterpret_cast<const __m256i*>(codes + 64));
      first = _mm256_and_si256(a, mask), second = _mm256_and_si256(b, mask);
      upper_first = _mm256_and_si256(a_high, mask);
      upper_second = _mm256_and_si256(_mm256_srli_epi16(b, 4), mask);
    } else {
      first = _mm256_and_si256(a, mask), second = _mm256_and_si256(a_high, mask);
    }
    if constexpr (kKind == PackedCode::E2M1) {
      const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kE2m1Table)));
      first = _mm256_shuffle_epi8(table, first), second = _mm256_shuffle_epi8(table, second);
    }
  }
};

HWY_INLINE __m256i products(__m256i first, __m256i second, const int8_t* x) {
  return _mm256_add_epi16(_mm256_maddubs_epi16(first, four_of(x)), _mm256_maddubs_epi16(second, four_of(x + 4)));
}

// sum += the products of `count` columns, a multiple of 8, with one plane; by runs that int16 holds.
template <PackedCode kKind>
HWY_INLINE void add_block(const int8_t* HWY_RESTRICT x, int64_t count, const uint8_t* HWY_RESTRICT codes,
                          __m256i (&sum)[2]) {
  constexpr int64_t kRun = kKind == PackedCode::E2M1 ? 16 : 32, kStep = kKind == PackedCode::U8 ? 128 : 64;
  const __m256i one = _mm256_set1_epi16(1), sixteen = _mm256_set1_epi16(16);
  for (int64_t begin = 0; begin < count; begin += kRun) {
    __m256i high = _mm256_setzero_si256(), low = high, upper_high = high, upper_low = high;
    const int64_t end = begin + kRun < count ? begin + kRun : count;
    for (int64_t k = begin; k < end; k += 8, codes += kStep) {
      __builtin_prefetch(codes + kPackedAhead, 0, 3);
      const EightRows<kKind> w(codes);
      high = _mm256_add_epi16(high, products(w.first, w.second, x + k));
      low = _mm256_add_epi16(low, products(w.first, w.second, x + count + k));
      if constexpr (kKind == PackedCode::U8) {
        upper_high = _mm256_add_epi16(upper_high, products(w.upper_first, w.upper_second, x + k));
        upper_low = _mm256_add_epi16(upper_low, products(w.upper_first, w.upper_second, x + count + k));
      }
    }
    sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(high, one));
    sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(low, one));
    if constexpr (kKind == PackedCode::U8) {
      sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(upper_high, sixteen));
      sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(upper_low, sixteen));
    }
  }
}

HWY_INLINE __m256 scales_of(const PackedProduct& p, int64_t at) {
  if (p.scale_format == NumberFormat::F32) return _mm256_loadu_ps(static_cast<const float*>(p.scale) + at);
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(static_cast<const uint16_t*>(p.scale) + at));
  if (p.scale_format == NumberFormat::F16) return _mm256_cvtph_ps(bits);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

HWY_INLINE __m256i zeros_of(const PackedProduct& p, int64_t at) {
  if (p.zero == nullptr) return _mm256_set1_epi32(p.zero_point);
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p.zero + at)));
}

// Eight outputs of one row, from output `first` on.
template <PackedCode kKind>
HWY_NOINLINE void eight_outputs(const PackedProduct& p, int64_t first, int64_t row) {
  const int64_t bytes = p.block * kPackedRows * code_bits(kKind) / 8, groups = p.blocks / p.blocks_in_group,
                panel = first / kPackedRows, o = first % kPackedRows;
  const uint8_t* codes = p.codes + panel * p.blocks * bytes + 4 * o;
  const int8_t* x = p.planes + row * 2 * p.blocks * p.block;
  __m256 total = _mm256_setzero_ps();
  int64_t at = panel * groups * kPackedRows + o;
  for (int64_t block = 0, in_group = 0; block < p.blocks; ++block, codes += bytes, x += 2 * p.block) {
    const __m256i zero = zeros_of(p, at);
    const __m256 scale = scales_of(p, at);
    if (++in_group == p.blocks_in_group) at += kPackedRows, in_group = 0;
    const int64_t place = row * p.blocks + block;
    __m256i sum[2] = {_mm256_setzero_si256(), _mm256_mullo_epi32(zero, _mm256_set1_epi32(-p.x_sum[place]))};
    add_block<kKind>(x, p.block, codes, sum);
    const __m256i exact = _mm256_add_epi32(_mm256_slli_epi32(sum[0], 8), sum[1]);
    total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(exact),
                            _mm256_mul_ps(_mm256_set1_ps(p.x_scale[place] * p.factor), scale), total);
  }
  alignas(32) float value[8];
  _mm256_store_ps(value, total);
  float* out = p.out + row * p.out_stride + first;
  for (int64_t i = 0; i < 8 && first + i < p.outputs; ++i) out[i] = p.add ? out[i] + value[i] : value[i];
}

// Rows of activations within a panel, whose codes then come from the cache.
template <PackedCode kKind>
HWY_INLINE void all_rows(const PackedProduct& p, int64_t panel) {
  for (int64_t row = 0; row < p.rows; ++row) {
    eight_outputs<kKind>(p, panel * kPackedRows, row);
    if (panel * kPackedRows + 8 < p.outputs) eight_outputs<kKind>(p, panel * kPackedRows + 8, row);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();
#endif
