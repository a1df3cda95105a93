#include "swage/kernels/plain_planes.h"

#include <cmath>
#include <vector>

namespace swage::kernels {

void quantize_planes(const QuantizePlanes& q) {
  const int64_t step = tile_step(q.block), blocks = q.columns / q.block;
  std::vector<int16_t> codes(static_cast<size_t>(q.columns));
  std::vector<float> scale(static_cast<size_t>(blocks));
  for (int64_t r = 0; r < q.rows; ++r) {
    plain_kernels().quantize_blocks({q.x + r * q.columns, q.columns, q.block, codes.data(), scale.data()});
    for (int64_t b = 0; b < blocks; ++b) q.scale[plane_scale(r, b, blocks)] = scale[static_cast<size_t>(b)];
    uint8_t* group = q.planes + r / kTileRows * kTileRows * 2 * q.columns;
    for (int64_t i = 0; i < q.columns; ++i) {
      uint8_t* low = group + i / step * 2 * kTileRows * step + r % kTileRows * step + i % step;
      const uint16_t code = static_cast<uint16_t>(codes[static_cast<size_t>(i)]);
      low[0] = static_cast<uint8_t>(code & 255);
      low[kTileRows * step] = static_cast<uint8_t>(code >> 8);
    }
  }
}

void plane_product(const PlaneProduct& p) {
  const int64_t blocks = p.columns / p.block, step = tile_step(p.block);
  const auto code = [&](int64_t r, int64_t i) {
    const uint8_t* low = p.x + r / kTileRows * kTileRows * 2 * p.columns + i / step * 2 * kTileRows * step +
                         r % kTileRows * step + i % step;
    return int64_t{static_cast<int8_t>(low[kTileRows * step])} * 256 + low[0];
  };
  const auto weight = [&](int64_t o, int64_t i) {
    const int64_t place = ((o / kTileRows * (p.columns / 4) + i / 4) * kTileRows + o % kTileRows) * 4 + i % 4;
    return int64_t{p.weight[place]} + (p.rest == nullptr ? 0 : p.rest[place]);
  };
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t o = 0; o < p.outputs; ++o) {
      float sum = 0;
      for (int64_t b = 0; b < blocks; ++b) {
        int64_t exact = 0;
        for (int64_t i = b * p.block; i < (b + 1) * p.block; ++i) exact += code(r, i) * weight(o, i);
        const float scale = p.x_scale[plane_scale(r, b, blocks)] * p.weight_scale[b * kPanel + o];
        sum = std::fma(static_cast<float>(exact), scale, sum);
      }
      float& out = p.out[r * p.out_stride + o];
      out = p.add ? out + sum : sum;
    }
  }
}

}  // namespace swage::kernels
