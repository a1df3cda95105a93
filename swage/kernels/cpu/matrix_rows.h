// The register block of the matrix kernels: kBlockRows rows x 3 vectors of f32 sums, as named variables because GCC
// keeps arrays of vectors in memory. SWAGE_EACH_ROW(X) expands X(0) .. X(7); uses guard with `if constexpr (r <
// kBlockRows)`.
#pragma once
#define SWAGE_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
// 24 sums fit 32 registers; with 16 registers (AVX2 and below) 12 do.
#define SWAGE_BLOCK_ROWS (HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3 ? 4 : 8)
