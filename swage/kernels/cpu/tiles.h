// What kernels on AMX's tiles of bytes share. x86-64 only.
#pragma once
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>

// On each function that contains such instructions: a file compiled for them could lend inline functions to others.
#define SWAGE_TILES __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,amx-tile,amx-int8")))

namespace swage::kernels {

// The layout that LDTILECFG reads.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int64_t tile_rows, int64_t bytes) {
    rows[tile] = static_cast<uint8_t>(tile_rows);
    row_bytes[tile] = static_cast<uint16_t>(bytes);
  }
};

SWAGE_TILES inline void shape_tiles(const TileShapes& shapes) {
  asm volatile("" ::"r"(&shapes) : "memory");  // the intrinsic names 8 of the 64 bytes that it reads
  _tile_loadconfig(&shapes);
}

}  // namespace swage::kernels
#endif
