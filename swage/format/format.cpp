#include "swage/format/format.h"

#include <array>
#include <charconv>

#include "swage/base/error.h"
#include "swage/format/dense.h"
#include "swage/format/float_pack.h"
#include "swage/format/float_quantized.h"
#include "swage/format/fp8_checkpoint.h"
#include "swage/format/int_quantized.h"
#include "swage/format/marlin_24.h"
#include "swage/format/pack_quantized.h"

namespace swage::format {
namespace {

// A format that float_pack reads and writes.
template <float_pack::Kind kind>
constexpr Format float_format(std::string_view name) {
  Format format{name,
                float_pack::specs<kind>,
                float_pack::shape<kind>,
                float_pack::pack<kind>,
                float_pack::unpack<kind>,
                float_pack::unpack<kind>};
  if (kind == float_pack::Kind::Mxfp4) format.unpack_before_0_14 = float_pack::unpack_mxfp4_before_0_14;
  return format;
}

constexpr std::array<Format, 11> kFormats = {{
    {"pack-quantized", pack_quantized::specs, pack_quantized::shape, pack_quantized::pack, pack_quantized::unpack,
     pack_quantized::unpack_before_0_18},
    {"int-quantized", int_quantized::specs, int_quantized::shape, int_quantized::pack, int_quantized::unpack,
     int_quantized::unpack},
    {"float-quantized", float_quantized::specs, float_quantized::shape, float_quantized::pack, float_quantized::unpack,
     float_quantized::unpack},
    {"naive-quantized", naive_quantized::specs, naive_quantized::shape, naive_quantized::pack, naive_quantized::unpack,
     naive_quantized::unpack},
    float_format<float_pack::Kind::Nvfp4>("nvfp4-pack-quantized"),
    float_format<float_pack::Kind::Mxfp4>("mxfp4-pack-quantized"),
    float_format<float_pack::Kind::Mxfp6>("mxfp6-pack-quantized"),
    float_format<float_pack::Kind::Mxfp8>("mxfp8-quantized"),
    {"dense", dense::specs, dense::shape, dense::pack, dense::unpack, dense::unpack},
    {"fp8", fp8_checkpoint::specs, fp8_checkpoint::shape, fp8_checkpoint::pack, fp8_checkpoint::unpack,
     fp8_checkpoint::unpack},
    {"marlin-24", marlin_24::specs, marlin_24::shape, marlin_24::pack, marlin_24::unpack, marlin_24::unpack},
}};

// The m of "0.m" and "0.m.p", or a large number for anything else.
int minor_version(std::string_view version) {
  constexpr int kNewest = 1 << 20;
  if (version.substr(0, 2) != "0.") return kNewest;
  int minor = 0;
  const auto parsed = std::from_chars(version.data() + 2, version.data() + version.size(), minor);
  return parsed.ec == std::errc() ? minor : kNewest;
}

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

QuantizedWeight (*unpack_for(const Format& format, std::string_view version))(const scheme::QuantizationArgs& args,
                                                                              const TensorLookup& lookup) {
  const int minor = minor_version(version);
  if (minor < 14 && format.unpack_before_0_14) return format.unpack_before_0_14;
  return minor < 18 ? format.unpack_before_0_18 : format.unpack;
}

const Format& format_for(const scheme::Scheme& scheme) { return format_named(format_of(scheme)); }

}  // namespace swage::format
