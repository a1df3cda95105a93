#include "swage/format/float_pack.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>

#include "swage/base/error.h"
#include "swage/format/float_codes.h"
#include "swage/format/stored_tensors.h"

namespace swage::format::float_pack {
namespace {

using scheme::Strategy;

// Below this many codes a thread is not worth starting.
constexpr int64_t kCodesPerTask = 1 << 17;

struct Layout {
  std::string_view name;
  int bits;
  Strategy strategy;
  int64_t group;
  std::string_view scale_dtype;
  io::Dtype scale_stored;
  at::ScalarType scale_type, code_type;
};

template <Kind kind>
constexpr Layout layout() {
  constexpr std::string_view kExponents = "torch.uint8";
  switch (kind) {
    case Kind::Nvfp4:
      return {"nvfp4-pack-quantized", 4,        Strategy::TensorGroup, 16, "torch.float8_e4m3fn", io::Dtype::F8E4M3,
              at::kFloat8_e4m3fn,     at::kByte};
    case Kind::Mxfp4:
      return {"mxfp4-pack-quantized", 4, Strategy::Group, 32, kExponents, io::Dtype::U8, at::kByte, at::kByte};
    case Kind::Mxfp6:
      return {"mxfp6-pack-quantized", 6, Strategy::Group, 32, kExponents, io::Dtype::U8, at::kByte, at::kFloat8_e4m3fn};
    default:
      return {"mxfp8-quantized", 8, Strategy::Group, 32, kExponents, io::Dtype::U8, at::kByte, at::kFloat8_e4m3fn};
  }
}

template <Kind kind>
void check_args(const scheme::QuantizationArgs& args) {
  constexpr Layout l = layout<kind>();
  check_float_groups(l.name, args, l.bits, l.strategy, l.group, l.scale_dtype);
}

// Runs `convert(first code, codes)` over `count` codes in parallel, in pieces of whole packing units.
template <class Convert>
bool in_pieces(int64_t count, Convert convert) {
  std::atomic<bool> fits = true;
  at::parallel_for(0, (count + kCodesPerTask - 1) / kCodesPerTask, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece * kCodesPerTask;
      if (!convert(first, std::min(kCodesPerTask, count - first))) fits = false;
    }
  });
  return fits;
}

// Rows are whole units, so the matrix is packed as one run of codes.
template <Kind kind>
at::Tensor pack_floats(const at::Tensor& codes_OI) {
  constexpr int kBits = layout<kind>().bits;
  at::Tensor packed = at::empty({codes_OI.size(0), codes_OI.size(1) * kBits / 8}, at::kByte);
  const uint8_t* from = static_cast<const uint8_t*>(codes_OI.const_data_ptr());
  uint8_t* to = packed.mutable_data_ptr<uint8_t>();
  const bool fits = in_pieces(codes_OI.numel(), [&](int64_t first, int64_t count) {
    return (kBits == 4 ? pack_nibble_pairs : pack_six_bits)(from + first, count, to + first * kBits / 8);
  });
  SWAGE_CHECK(fits, InvalidArgument, layout<kind>().name, ": a code does not fit into ", kBits, " bits");
  return packed;
}

template <Kind kind>
at::Tensor unpack_floats(const at::Tensor& packed) {
  constexpr int kBits = layout<kind>().bits;
  at::Tensor codes_OI = at::empty({packed.size(0), packed.size(1) * 8 / kBits}, layout<kind>().code_type);
  const uint8_t* from = packed.const_data_ptr<uint8_t>();
  uint8_t* to = static_cast<uint8_t*>(codes_OI.mutable_data_ptr());
  in_pieces(codes_OI.numel(), [&](int64_t first, int64_t count) {
    (kBits == 4 ? unpack_nibble_pairs : unpack_six_bits)(from + first * kBits / 8, count, to + first);
    return true;
  });
  return codes_OI;
}

// The packed matrix, of whole groups.
template <Kind kind>
at::Tensor stored_packed(const TensorLookup& lookup) {
  if constexpr (kind == Kind::Mxfp8) return stored_codes(lookup, at::kFloat8_e4m3fn);
  const at::Tensor packed = stored(lookup, "weight_packed", {at::kByte});
  constexpr int64_t kGroupBytes = layout<kind>().group * layout<kind>().bits / 8;
  SWAGE_CHECK(packed.dim() == 2 && packed.numel() > 0 && packed.size(1) % kGroupBytes == 0, CorruptData,
              "weight_packed: expected a matrix with rows of whole groups of ", kGroupBytes, " bytes, found shape ",
              io::shape_text(packed.sizes().vec()));
  return packed;
}

}  // namespace

template <Kind kind>
std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns, io::Dtype) {
  check_args<kind>(args);
  constexpr Layout l = layout<kind>();
  std::vector<io::TensorSpec> specs;
  const std::vector<int64_t> scales = scale_shape(args, rows, columns);
  if (kind == Kind::Mxfp8) specs.push_back({"weight", io::Dtype::F8E4M3, {rows, columns}});
  if (kind != Kind::Mxfp8) specs.push_back({"weight_packed", io::Dtype::U8, {rows, columns * l.bits / 8}});
  specs.push_back({"weight_scale", l.scale_stored, scales});
  if (kind == Kind::Nvfp4) specs.push_back({"weight_global_scale", io::Dtype::F32, {1}});
  return specs;
}

template <Kind kind>
std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args<kind>(args);
  const at::Tensor packed = stored_packed<kind>(lookup);
  return {packed.size(0), packed.size(1) * 8 / layout<kind>().bits};
}

template <Kind kind>
std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight) {
  check_args<kind>(args);
  constexpr Layout l = layout<kind>();
  SWAGE_CHECK(!weight.g_idx_I.defined(), InvalidArgument, l.name, ": cannot store sorted groups");
  const bool global = weight.global_scale.defined() && weight.global_scale.scalar_type() == at::kFloat &&
                      weight.global_scale.numel() == 1;
  SWAGE_CHECK(kind == Kind::Nvfp4 ? global : !weight.global_scale.defined(), InvalidArgument, l.name,
              kind == Kind::Nvfp4 ? ": expected a float32 global scale" : ": cannot store a global scale");
  const QuantizedWeight ready = checked_for_packing(args, weight, l.code_type, l.scale_type);
  std::vector<std::pair<std::string, at::Tensor>> packed;
  if constexpr (kind == Kind::Mxfp8) {
    packed.emplace_back("weight", ready.codes_OI);
  } else {
    packed.emplace_back("weight_packed", pack_floats<kind>(ready.codes_OI));
  }
  packed.emplace_back("weight_scale", ready.scale_OG);
  if (kind == Kind::Nvfp4)
    packed.emplace_back("weight_global_scale", weight.global_scale.cpu().reshape({1}).contiguous());
  return packed;
}

template <Kind kind>
QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args<kind>(args);
  const at::Tensor packed = stored_packed<kind>(lookup);
  QuantizedWeight weight;
  if constexpr (kind == Kind::Mxfp8) {
    weight.codes_OI = packed;
  } else {
    weight.codes_OI = unpack_floats<kind>(packed);
  }
  weight.scale_OG =
      stored_scale(args, lookup, weight.codes_OI.size(0), weight.codes_OI.size(1), {layout<kind>().scale_type});
  if (kind == Kind::Nvfp4) weight.global_scale = stored_scalar(lookup, "weight_global_scale", true);
  return weight;
}

QuantizedWeight unpack_mxfp4_before_0_14(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  QuantizedWeight weight = unpack<Kind::Mxfp4>(args, lookup);
  weight.scale_OG = weight.scale_OG.add(2);  // modulo 256, as it was subtracted
  return weight;
}

#define SWAGE_INSTANTIATE(kind)                                                                                   \
  template std::vector<io::TensorSpec> specs<kind>(const scheme::QuantizationArgs&, int64_t, int64_t, io::Dtype); \
  template std::vector<int64_t> shape<kind>(const scheme::QuantizationArgs&, const TensorLookup&);                \
  template std::vector<std::pair<std::string, at::Tensor>> pack<kind>(const scheme::QuantizationArgs&,            \
                                                                      const QuantizedWeight&);                    \
  template QuantizedWeight unpack<kind>(const scheme::QuantizationArgs&, const TensorLookup&);
SWAGE_INSTANTIATE(Kind::Nvfp4)
SWAGE_INSTANTIATE(Kind::Mxfp4)
SWAGE_INSTANTIATE(Kind::Mxfp6)
SWAGE_INSTANTIATE(Kind::Mxfp8)
#undef SWAGE_INSTANTIATE

}  // namespace swage::format::float_pack
