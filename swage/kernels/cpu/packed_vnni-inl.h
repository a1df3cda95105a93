// Products on packed codes with AVX-512 VNNI. Included once per instruction set by packed_product.cpp.
#if HWY_TARGET == HWY_AVX3_DL
HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

using Four __attribute__((may_alias, aligned(1))) = int32_t;

// sum + the four products of each lane: codes 0 .. 255 and the same four activations for all. One instruction, which
// this version of Highway does not know.
HWY_INLINE void add_products(__m512i& sum, __m512i codes, const int8_t* x) {
  asm("vpdpbusd %[x]%{1to16%}, %[codes], %[sum]"
      : [sum] "+v"(sum)
      : [codes] "v"(codes), [x] "m"(*reinterpret_cast<const Four*>(x)));
}

template <PackedCode kKind>
HWY_INLINE __m512i codes_of(__m512i halves, __m512i table) {
  const __m512i code = _mm512_and_si512(halves, _mm512_set1_epi8(15));
  return kKind == PackedCode::E2M1 ? _mm512_shuffle_epi8(table, code) : code;
}

HWY_INLINE __m512 scales_of(const PackedProduct& p, int64_t at) {
  if (p.scale_format == NumberFormat::F32) return _mm512_loadu_ps(static_cast<const float*>(p.scale) + at);
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(static_cast<const uint16_t*>(p.scale) + at));
  if (p.scale_format == NumberFormat::F16) return _mm512_cvtph_ps(bits);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

HWY_INLINE __m512i zeros_of(const PackedProduct& p, int64_t at) {
  if (p.zero == nullptr) return _mm512_set1_epi32(p.zero_point);
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p.zero + at)));
}

// Sums of both planes of kRows rows over one block.
template <PackedCode kKind, int kRows>
HWY_INLINE void add_block(const int8_t* HWY_RESTRICT x, int64_t stride, int64_t count,
                          const uint8_t* HWY_RESTRICT codes, __m512i table, __m512i (&high)[kRows],
                          __m512i (&low)[kRows]) {
  for (int64_t k = 0; k < count; k += 8) {
    __m512i first, second;
    if constexpr (kKind == PackedCode::U8) {
      __builtin_prefetch(codes + kPackedAhead, 0, 3);
      __builtin_prefetch(codes + kPackedAhead + 64, 0, 3);
      first = _mm512_load_si512(codes), second = _mm512_load_si512(codes + 64);
      codes += 128;
    } else {
      __builtin_prefetch(codes + kPackedAhead, 0, 3);
      const __m512i both = _mm512_load_si512(codes);
      first = codes_of<kKind>(both, table), second = codes_of<kKind>(_mm512_srli_epi16(both, 4), table);
      codes += 64;
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const int8_t *h = x + r * stride + k, *l = h + count;
      add_products(high[r], first, h);
      add_products(low[r], first, l);
      add_products(high[r], second, h + 4);
      add_products(low[r], second, l + 4);
    }
  }
}

HWY_INLINE void store_sums(const PackedProduct& p, int64_t panel, int64_t row, __m512 sum) {
  const int64_t left = p.outputs - panel * kPackedRows;
  const __mmask16 mask = left >= kPackedRows ? __mmask16(0xFFFF) : __mmask16((1u << left) - 1);
  float* out = p.out + row * p.out_stride + panel * kPackedRows;
  if (p.add) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), sum);
  _mm512_mask_storeu_ps(out, mask, sum);
}

template <PackedCode kKind, int kRows>
HWY_NOINLINE void some_rows(const PackedProduct& p, int64_t panel, int64_t row) {
  const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kE2m1Table)));
  const int64_t bytes = p.block * kPackedRows * code_bits(kKind) / 8, stride = 2 * p.blocks * p.block,
                groups = p.blocks / p.blocks_in_group;
  const uint8_t* codes = p.codes + panel * p.blocks * bytes;
  const int8_t* x = p.planes + row * stride;
  __m512 sum[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) sum[r] = _mm512_setzero_ps();
  int64_t at = panel * groups * kPackedRows;
  for (int64_t block = 0, in_group = 0; block < p.blocks; ++block, codes += bytes, x += 2 * p.block) {
    const __m512i zero = zeros_of(p, at);
    const __m512 scale = scales_of(p, at);
    if (++in_group == p.blocks_in_group) at += kPackedRows, in_group = 0;
    __m512i high[kRows], low[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      high[r] = _mm512_setzero_si512();
      low[r] = _mm512_mullo_epi32(zero, _mm512_set1_epi32(-p.x_sum[(row + r) * p.blocks + block]));
    }
    add_block<kKind, kRows>(x, stride, p.block, codes, table, high, low);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512i exact = _mm512_add_epi32(_mm512_slli_epi32(high[r], 8), low[r]);
      const __m512 both = _mm512_mul_ps(_mm512_set1_ps(p.x_scale[(row + r) * p.blocks + block] * p.factor), scale);
      sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact), both, sum[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) store_sums(p, panel, row + r, sum[r]);
}

template <PackedCode kKind>
HWY_INLINE void all_rows(const PackedProduct& p, int64_t panel) {
  int64_t row = 0;
  for (; row + 8 <= p.rows; row += 8) some_rows<kKind, 8>(p, panel, row);
  if (row + 4 <= p.rows) some_rows<kKind, 4>(p, panel, row), row += 4;
  if (row + 2 <= p.rows) some_rows<kKind, 2>(p, panel, row), row += 2;
  if (row < p.rows) some_rows<kKind, 1>(p, panel, row);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();
#endif
