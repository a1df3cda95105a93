// Instruction sets that the kernels are compiled for: the baseline, AVX2 and AVX-512, and with SWAGE_WITH_DOT_PRODUCTS
// also the AVX-512 that multiplies and adds pairs of int16 (VNNI). SSSE3 and SSE4 are left out: processors without AVX2
// run the baseline, and two more instruction sets would be compiled for every kernel. Include before any Highway
// header.
#pragma once
#ifdef SWAGE_WITH_DOT_PRODUCTS
#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#else
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#endif
