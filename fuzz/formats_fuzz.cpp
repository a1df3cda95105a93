// Any scheme and any tensors as a stored weight, in every layout: unpacked, or refused as corrupt or unsupported. What
// unpacks dequantizes, and has the shape that was announced.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cstring>
#include <map>
#include <string>

#include "swage/base/error.h"
#include "swage/format/awq.h"
#include "swage/format/format.h"
#include "swage/format/gptq.h"
#include "swage/format/sparse_bitmask.h"

namespace {

using namespace swage;

void expect(bool holds) {
  if (!holds) __builtin_trap();
}

// The input, byte by byte; zeros after its end.
struct Bytes {
  const uint8_t* data;
  size_t size;

  uint8_t next() { return size ? (--size, *data++) : uint8_t(0); }
  void fill(void* to, size_t count) {
    if (count == 0) return;
    const size_t taken = std::min(count, size);
    if (taken) std::memcpy(to, data, taken);
    std::memset(static_cast<char*>(to) + taken, 0, count - taken);
    data += taken, size -= taken;
  }
};

scheme::QuantizationArgs any_args(Bytes& bytes) {
  constexpr std::array<int, 8> kBits = {4, 8, 2, 3, 5, 6, 1, 16};
  constexpr std::array<int64_t, 6> kGroups = {16, 32, 8, 1, 24, 128};
  constexpr std::array kStrategies = {scheme::Strategy::Group, scheme::Strategy::Channel, scheme::Strategy::Tensor,
                                      scheme::Strategy::TensorGroup, scheme::Strategy::Block};
  scheme::QuantizationArgs args;
  args.num_bits = kBits[bytes.next() % 8];
  const uint8_t flags = bytes.next();
  args.type = flags & 1 ? scheme::NumberType::Float : scheme::NumberType::Int;
  args.symmetric = flags & 2;
  if (flags & 4) args.actorder = "group";
  if (flags & 8) args.scale_dtype = flags & 16 ? "torch.uint8" : "torch.float8_e4m3fn";
  args.strategy = kStrategies[bytes.next() % 5];
  const bool grouped = args.strategy == scheme::Strategy::Group || args.strategy == scheme::Strategy::TensorGroup;
  if (grouped) args.group_size = kGroups[bytes.next() % 6];
  if (args.strategy == scheme::Strategy::Block)
    args.block_structure = std::pair<int64_t, int64_t>(1 + bytes.next(), 1 + bytes.next());
  return args;
}

// A small tensor of any of the types that checkpoints hold; undefined at times.
at::Tensor any_tensor(Bytes& bytes) {
  constexpr std::array kTypes = {at::kInt,   at::kByte, at::kChar, at::kFloat8_e4m3fn, at::kBFloat16,
                                 at::kFloat, at::kHalf, at::kLong, at::kShort};
  const uint8_t kind = bytes.next();
  if (kind >= 250) return {};
  std::vector<int64_t> shape;
  for (int i = 0; i < kind / 16 % 4; ++i) {
    const uint8_t size = bytes.next();
    shape.push_back(size & 1 ? size / 32 * 32 : size / 2 % 70);
  }
  at::Tensor tensor = at::empty(shape, kTypes[kind % kTypes.size()]);
  bytes.fill(tensor.mutable_data_ptr(), tensor.nbytes());
  return tensor;
}

void refuses_or_reads(const auto& read) {
  try {
    read();
  } catch (const Error& e) {
    expect(e.kind() == ErrorKind::CorruptData || e.kind() == ErrorKind::Unsupported);
  }
}

void read_as(const format::Format& format, const scheme::QuantizationArgs& args, const format::TensorLookup& lookup) {
  refuses_or_reads([&] { format.shape(args, lookup); });
  for (const auto unpack : {format.unpack, format.unpack_before_0_18, format.unpack_before_0_14}) {
    if (!unpack) continue;
    refuses_or_reads([&] {
      const format::QuantizedWeight weight = unpack(args, lookup);
      expect(format.shape(args, lookup) == weight.codes_OI.sizes().vec());
      try {
        dequantize(weight);
      } catch (const Error&) {
        expect(false);
      }
    });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool one_thread = (at::set_num_threads(1), true);
  expect(one_thread);
  constexpr std::array kSuffixes = {"weight",
                                    "weight_packed",
                                    "weight_scale",
                                    "weight_zero_point",
                                    "weight_g_idx",
                                    "weight_shape",
                                    "weight_global_scale",
                                    "scale_packed",
                                    "meta",
                                    "qweight",
                                    "qzeros",
                                    "scales",
                                    "g_idx",
                                    "bitmask",
                                    "compressed",
                                    "shape",
                                    "row_offsets"};
  Bytes bytes{data, size};
  const scheme::QuantizationArgs args = any_args(bytes);
  std::map<std::string, at::Tensor> tensors;
  while (bytes.size) {
    const std::string suffix = kSuffixes[bytes.next() % kSuffixes.size()];
    tensors[suffix] = any_tensor(bytes);
  }
  const format::TensorLookup lookup = [&](const std::string& suffix) {
    const auto found = tensors.find(suffix);
    return found == tensors.end() ? at::Tensor() : found->second;
  };
  for (const format::Format& format : format::formats()) read_as(format, args, lookup);
  for (const char* name : {"gptq", "gptq_v2", "gptq_p"}) read_as(format::gptq_format(name), args, lookup);
  read_as(format::awq_format(), args, lookup);
  refuses_or_reads([&] { expect(format::expand_sparse(lookup).sizes().vec() == format::sparse_shape(lookup)); });
  return 0;
}
