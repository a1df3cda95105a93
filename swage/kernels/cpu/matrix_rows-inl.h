// The register block of the matrix kernels: kBlockRows rows x 3 vectors of f32 sums, as named variables because GCC
// keeps arrays of vectors in memory. SWAGE_EACH_ROW(X) expands X(0) .. X(7); uses guard with `if constexpr (r <
// kBlockRows)`. Included once per instruction set.
#if defined(SWAGE_KERNELS_MATRIX_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWAGE_KERNELS_MATRIX_ROWS_INL_H_
#undef SWAGE_KERNELS_MATRIX_ROWS_INL_H_
#else
#define SWAGE_KERNELS_MATRIX_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#undef SWAGE_EACH_ROW
#define SWAGE_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {

// 24 sums fit 32 registers; with 16 registers (AVX2 and below) 12 do.
inline constexpr int kBlockRows = HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3 ? 4 : 8;

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#endif
