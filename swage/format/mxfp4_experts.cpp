#include "swage/format/mxfp4_experts.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cmath>

#include "swage/base/error.h"

namespace swage::format {
namespace {

constexpr int64_t kExpertBlock = 32, kExpertBlockBytes = 16;
constexpr std::array<float, 16> kE2m1Values = {0.f,  0.5f,  1.f,  1.5f,  2.f,  3.f,  4.f,  6.f,
                                               -0.f, -0.5f, -1.f, -1.5f, -2.f, -3.f, -4.f, -6.f};

}  // namespace

std::optional<std::vector<int64_t>> mxfp4_experts_shape(const checkpoint::Reader& reader, const std::string& name) {
  const io::TensorSpec *blocks = reader.find(name + "_blocks"), *scales = reader.find(name + "_scales");
  if (blocks == nullptr || scales == nullptr || reader.find(name) != nullptr) return {};
  const std::vector<int64_t>&b = blocks->shape, &s = scales->shape;
  const bool fits = blocks->dtype == io::Dtype::U8 && scales->dtype == io::Dtype::U8 && b.size() == 4 &&
                    s.size() == 3 && b[3] == kExpertBlockBytes && b[0] == s[0] && b[1] == s[1] && b[2] == s[2];
  SWAGE_CHECK(fits, CorruptData, name, "_blocks: bytes [E, O, G, 16] with scales [E, O, G] are expected, found ",
              io::shape_text(b), " and ", io::shape_text(s));
  return std::vector<int64_t>{b[0], kExpertBlock * b[2], b[1]};
}

at::Tensor mxfp4_experts(const checkpoint::Reader& reader, const std::string& name) {
  const std::vector<int64_t> shape = *mxfp4_experts_shape(reader, name);
  for (const char* part : {"_blocks", "_scales"}) reader.note(name + part);
  const at::Tensor blocks = reader.view(name + "_blocks"), scales = reader.view(name + "_scales");
  const uint8_t *codes = blocks.const_data_ptr<uint8_t>(), *exponents = scales.const_data_ptr<uint8_t>();
  const int64_t groups = shape[1] / kExpertBlock, rows = shape[0] * shape[2];
  at::Tensor out_EOI = at::empty({shape[0], shape[2], shape[1]}, at::kFloat);
  float* out = out_EOI.mutable_data_ptr<float>();
  at::parallel_for(0, rows, 64, [&](int64_t first, int64_t end) {
    for (int64_t block = first * groups; block < end * groups; ++block) {
      const float scale = std::ldexp(1.f, int(exponents[block]) - 127);
      for (int64_t i = 0; i < kExpertBlockBytes; ++i) {
        const uint8_t byte = codes[block * kExpertBlockBytes + i];
        out[block * kExpertBlock + 2 * i] = kE2m1Values[byte & 15] * scale;
        out[block * kExpertBlock + 2 * i + 1] = kE2m1Values[byte >> 4] * scale;
      }
    }
  });
  for (const char* part : {"_blocks", "_scales"}) reader.drop(name + part);
  return out_EOI.transpose(1, 2).contiguous();
}

bool is_mxfp4_part(const checkpoint::Reader& reader, const std::string& tensor) {
  for (const std::string end : {"_blocks", "_scales"}) {
    if (tensor.size() > end.size() && tensor.ends_with(end) &&
        mxfp4_experts_shape(reader, tensor.substr(0, tensor.size() - end.size())))
      return true;
  }
  return false;
}

}  // namespace swage::format
