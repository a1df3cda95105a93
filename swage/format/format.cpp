#include "swage/format/format.h"

#include <array>

#include "swage/base/error.h"
#include "swage/format/float_quantized.h"
#include "swage/format/int_quantized.h"
#include "swage/format/pack_quantized.h"

namespace swage::format {
namespace {

constexpr std::array<Format, 4> kFormats = {{
    {"pack-quantized", pack_quantized::specs, pack_quantized::shape, pack_quantized::pack, pack_quantized::unpack,
     pack_quantized::unpack_before_0_18},
    {"int-quantized", int_quantized::specs, int_quantized::shape, int_quantized::pack, int_quantized::unpack, int_quantized::unpack},
    {"float-quantized", float_quantized::specs, float_quantized::shape, float_quantized::pack, float_quantized::unpack, float_quantized::unpack},
    {"naive-quantized", naive_quantized::specs, naive_quantized::shape, naive_quantized::pack, naive_quantized::unpack, naive_quantized::unpack},
}};

}  // namespace

std::span<const Format> formats() { return kFormats; }

const Format& format_named(std::string_view name) {
  std::string known;
  for (const Format& format : kFormats) {
    if (format.name == name) return format;
    known += cat(known.empty() ? "" : ", ", format.name);
  }
  throw Error(ErrorKind::Unsupported, cat("format \"", name, "\" is not supported; supported: ", known));
}

const Format& format_for(const scheme::Scheme& scheme) { return format_named(format_of(scheme)); }

}  // namespace swage::format
