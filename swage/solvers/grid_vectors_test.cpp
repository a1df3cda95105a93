// Round-to-nearest with absmax scales against what compressed-tensors 0.20 wrote.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <iostream>
#include <set>

#include "swage/base/error.h"
#include "swage/solvers/grid.h"
#include "swage/solvers/test_vectors.h"
#include "tests/support/reference_quantize.h"

namespace swage::solvers {
namespace {

ScaleSearch by_absmax() {
  ScaleSearch search;
  search.kind = ScaleSearch::Kind::Absmax;
  return search;
}

struct Case {
  GridSpec spec;
  std::string input, format;
  bool power_of_two = false, two_levels = false;
};

CodeType type_of(const std::string& type, int64_t bits) {
  if (type == "int") return CodeType::Int;
  return bits == 8 ? CodeType::Fp8E4M3 : bits == 6 ? CodeType::Fp6E2M3 : CodeType::Fp4E2M1;
}

double limit_of(CodeType type) { return type == CodeType::Fp8E4M3 ? 448 : type == CodeType::Fp6E2M3 ? 7.5 : 6; }

// The grid of a case, or false if it quantizes no weights, or to codes beyond a byte.
bool read_case(const std::string& path, Case& found) {
  const Json json = parse_json(read_text(path), path);
  const Json* scheme = json.find("scheme");
  const Json* weights = scheme == nullptr ? nullptr : scheme->find("weights");
  if (weights == nullptr || weights->is_null()) return false;
  const int64_t bits = weights->at("num_bits").as_int();
  if (bits > 8) return false;
  const std::string strategy = weights->get_string("strategy", ""),
                    scale_dtype = weights->get_string("scale_dtype", "");
  found.input = json.at("input").at("tensor").as_string();
  found.format = json.get_string("format", "");
  found.spec.type = type_of(weights->get_string("type", "int"), bits);
  const bool integer = found.spec.type == CodeType::Int;
  found.spec.code_min = integer ? -static_cast<double>(int64_t{1} << (bits - 1)) : -limit_of(found.spec.type);
  found.spec.code_max = integer ? static_cast<double>((int64_t{1} << (bits - 1)) - 1) : limit_of(found.spec.type);
  found.spec.symmetric = weights->get_bool("symmetric", true);
  if (strategy == "group" || strategy == "tensor_group") found.spec.group_size = weights->at("group_size").as_int();
  if (strategy == "tensor") found.spec.group_rows = 0;
  if (strategy == "block") {
    found.spec.group_rows = weights->at("block_structure").as_array()[0].as_int();
    found.spec.group_size = weights->at("block_structure").as_array()[1].as_int();
  }
  found.power_of_two = scale_dtype == "torch.uint8";
  found.two_levels = strategy == "tensor_group";
  return true;
}

reference::QuantizeSpec twin_of(const Case& with, at::ScalarType dtype) {
  reference::QuantizeSpec twin;
  twin.fp8 = with.spec.type == CodeType::Fp8E4M3;
  twin.float_bits = with.spec.type == CodeType::Fp4E2M1 ? 4 : with.spec.type == CodeType::Fp6E2M3 ? 6 : 0;
  if (with.spec.type == CodeType::Int) twin.bits = int(std::log2(1 - with.spec.code_min * 2));
  twin.symmetric = with.spec.symmetric;
  twin.group_size = with.spec.group_rows == 0 ? reference::QuantizeSpec::kWholeTensor : with.spec.group_size;
  twin.block_rows = with.spec.group_rows;
  twin.parameters = twin.codes = dtype;
  twin.power_of_two = with.power_of_two;
  twin.two_levels = with.two_levels;
  return twin;
}

// Codes of a stored weight: two FP4 codes to a byte, the first in the low half; four FP6 codes to three bytes, lowest
// first.
at::Tensor stored_codes(const std::map<std::string, at::Tensor>& tensors, CodeType type) {
  if (tensors.contains("codes.weight")) return tensors.at("codes.weight");
  if (tensors.contains("compressed.weight")) return tensors.at("compressed.weight");
  const at::Tensor packed = tensors.at("compressed.weight_packed").to(at::kInt);
  if (type == CodeType::Fp4E2M1)
    return at::stack({packed.bitwise_and(15), packed.__rshift__(4)}, -1).flatten(1).to(at::kByte);
  const at::Tensor bytes = packed.view({packed.size(0), -1, 3});
  const at::Tensor word = bytes.select(2, 0) + bytes.select(2, 1) * 256 + bytes.select(2, 2) * 65536;
  std::vector<at::Tensor> codes;
  for (int i = 0; i < 4; ++i) codes.push_back(word.__rshift__(6 * i).bitwise_and(63));
  return at::stack(codes, -1).flatten(1).to(at::kByte);
}

// Codes as integers whose difference counts steps of the grid.
at::Tensor steps_of(const at::Tensor& codes_OI, CodeType type) {
  if (type == CodeType::Int) return codes_OI.to(at::kInt);
  const int sign = type == CodeType::Fp8E4M3 ? 128 : type == CodeType::Fp6E2M3 ? 32 : 8;
  const at::Tensor bytes_OI = codes_OI.view(at::kByte).to(at::kInt), magnitude_OI = bytes_OI.bitwise_and(sign - 1);
  return at::where(bytes_OI >= sign, -magnitude_OI, magnitude_OI);
}

// Groups whose scale differs on purpose: the library carries MX scales in F16, where a scale below 2^-24 becomes 1 and
// the group is lost. swage keeps the exponent byte. Bool [O, G].
at::Tensor differs_on_purpose(const Case& with, const at::Tensor& w_OI, const Grid& grid) {
  if (!with.power_of_two || w_OI.scalar_type() != at::kHalf) return at::zeros(grid.scale_OG.sizes(), at::kBool);
  const at::Tensor absmax_OG = w_OI.to(at::kFloat).abs().view({w_OI.size(0), grid.scale_OG.size(1), -1}).amax(-1);
  return (grid.scale_OG < 0x1p-24).logical_or(absmax_OG < 0x1p-14);
}

void expect_scales(const Case& with, const std::map<std::string, at::Tensor>& tensors, const at::Tensor& w_OI,
                   const Grid& grid) {
  if (with.power_of_two) {
    const at::Tensor want_OG = at::exp2(tensors.at("compressed.weight_scale").to(at::kDouble) - 127).to(at::kFloat);
    EXPECT_TRUE((grid.scale_OG == want_OG).logical_or(differs_on_purpose(with, w_OI, grid)).all().item<bool>());
  } else if (with.two_levels) {
    EXPECT_TRUE(grid.global_scale.equal(tensors.at("compressed.weight_global_scale")));
    EXPECT_TRUE(grid.scale_OG.equal(tensors.at("compressed.weight_scale").to(at::kFloat) / grid.global_scale));
  } else {
    ASSERT_EQ(tensors.at("qparam.weight_scale").scalar_type(), w_OI.scalar_type());
    EXPECT_TRUE(grid.scale_OG.equal(tensors.at("qparam.weight_scale").to(at::kFloat)));
  }
  if (!grid.spec.symmetric) {
    EXPECT_TRUE(grid.zero_point_OG.equal(tensors.at("qparam.weight_zero_point").to(at::kFloat)));
  }
}

// The library's own arithmetic, step by step, gives the stored codes and values exactly, from any dtype.
void expect_twin(const Case& with, const std::map<std::string, at::Tensor>& tensors, const at::Tensor& w_OI) {
  const reference::Quantized twin = reference::quantize(w_OI, twin_of(with, w_OI.scalar_type()));
  EXPECT_TRUE(twin.values_OI.to(w_OI.scalar_type()).equal(tensors.at("fake_quant.weight"))) << "values of the twin";
  if (with.format == "dense") return;
  EXPECT_TRUE(twin.codes_OI.view(at::kByte).equal(stored_codes(tensors, with.spec.type).view(at::kByte)))
      << "codes of the twin";
}

// Scales and zero points bit for bit. Codes from f32 bit for bit; from bf16 and f16 at most one step apart, because
// swage divides in f32 where the reference's CPU path rounds the quotient to the weight's dtype.
void check_case(const std::string& folder, const std::string& name, const Case& with,
                const std::map<std::string, at::Tensor>& inputs) {
  SCOPED_TRACE(name);
  const auto tensors = load_tensors(folder + "/ct-0.20.0/" + name + ".safetensors");
  const at::Tensor w_OI = inputs.at(with.input);
  GridSpec spec = with.spec;
  spec.scale_dtype = with.power_of_two ? at::kByte : with.two_levels ? at::kFloat8_e4m3fn : w_OI.scalar_type();
  const Grid grid = find_grid(w_OI, spec, by_absmax());
  expect_scales(with, tensors, w_OI, grid);
  expect_twin(with, tensors, w_OI);
  if (with.format == "dense") return;  // no codes are stored
  const at::Tensor codes_OI = quantize_to_grid(w_OI, grid), want_OI = stored_codes(tensors, spec.type);
  ASSERT_EQ(codes_OI.scalar_type(), want_OI.scalar_type());
  at::Tensor apart_OI = (steps_of(codes_OI, spec.type) - steps_of(want_OI, spec.type)).abs();
  const at::Tensor skip_OG = differs_on_purpose(with, w_OI, grid);
  if (skip_OG.any().item<bool>())
    apart_OI = apart_OI.masked_fill(skip_OG.repeat_interleave(apart_OI.size(1) / skip_OG.size(1), 1), 0);
  EXPECT_LE(apart_OI.max().item<int64_t>(), w_OI.scalar_type() == at::kFloat ? 0 : 1);
  if (w_OI.scalar_type() != at::kFloat) return;
  EXPECT_TRUE(codes_OI.view(at::kByte).equal(want_OI.view(at::kByte)));  // the sign of zero too
  EXPECT_TRUE(dequantize_from_grid(codes_OI, grid).equal(tensors.at("fake_quant.weight"))) << "values";
}

int check_folder(const std::string& folder) {
  const auto inputs = load_tensors(folder + "/inputs.safetensors");
  std::set<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(folder + "/ct-0.20.0")) {
    if (file.path().extension() == ".json") names.insert(file.path().stem().string());
  }
  int checked = 0;
  for (const std::string& name : names) {
    Case found;
    if (!read_case(folder + "/ct-0.20.0/" + name + ".json", found)) continue;
    check_case(folder, name, found, inputs);
    ++checked;
  }
  return checked;
}

TEST(GridVectors, EqualCompressedTensors) {
  std::string folder = SWAGE_FULL_DATA "/formats/vectors";
  const bool full = std::filesystem::exists(folder);
  if (!full) folder = SWAGE_TEST_DATA "/solvers";
  const int checked = check_folder(folder);
  std::cout << "grid vectors: " << checked << " cases of the " << (full ? "full set" : "bundled selection")
            << std::endl;
  RecordProperty("cases", checked);
  EXPECT_GE(checked, full ? 128 : 25);
}

TEST(GridVectors, BundledSelectionEqualsToo) { EXPECT_GE(check_folder(SWAGE_TEST_DATA "/solvers"), 25); }

GridSpec golden_float_spec(CodeType type, at::ScalarType scale_dtype) {
  GridSpec spec;
  spec.type = type;
  spec.code_max = limit_of(type);
  spec.code_min = -spec.code_max;
  spec.scale_dtype = scale_dtype;
  return spec;
}

const std::vector<std::pair<std::string, at::ScalarType>>& dtypes() {
  static const std::vector<std::pair<std::string, at::ScalarType>> all{
      {"f32", at::kFloat}, {"bf16", at::kBFloat16}, {"f16", at::kHalf}};
  return all;
}

// Tables of single roundings: values to codes with a scale of 1.
TEST(GridVectors, RoundingTables) {
  const auto tables = load_tensors(SWAGE_TEST_DATA "/solvers/scalars.safetensors");
  const std::vector<std::tuple<CodeType, std::string, std::string>> all{
      {CodeType::Fp4E2M1, "e2m1.x_f32", "e2m1.code"},
      {CodeType::Fp6E2M3, "e2m3.x_f32", "e2m3.code"},
      {CodeType::Fp8E4M3, "e4m3.x_f32", "e4m3.clamped_then_cast"},
      {CodeType::Fp8E4M3, "e4m3.x_bf16", "e4m3.bf16_clamped_then_cast"}};
  for (const auto& [type, input, output] : all) {
    const at::Tensor x_OI = tables.at(input).unsqueeze(0), want_OI = tables.at(output).unsqueeze(0);
    Grid grid{golden_float_spec(type, at::kFloat), at::ones({1, 1}), {}, {}, {}};
    at::Tensor codes_OI = quantize_to_grid(x_OI, grid).view(at::kByte);
    // The table casts, which keeps -0; quantizing adds a zero point of 0 first.
    if (type == CodeType::Fp8E4M3) codes_OI = codes_OI.masked_fill((x_OI == 0).logical_and(x_OI.signbit()), 0x80);
    EXPECT_TRUE(codes_OI.equal(want_OI)) << input;
  }
  Grid fp8{golden_float_spec(CodeType::Fp8E4M3, at::kFloat), at::ones({1, 1}), {}, {}, {}};
  const at::Tensor bytes = at::arange(256, at::kByte), finite = bytes.bitwise_and(127) != 127;
  const at::Tensor values = dequantize_from_grid(bytes.view(at::kFloat8_e4m3fn).unsqueeze(0), fp8).squeeze(0);
  EXPECT_TRUE(values.index({finite}).equal(tables.at("e4m3.value_of_code").index({finite})));
}

// Scales and zero points of ranges, for three dtypes.
TEST(GridVectors, ScalesOfRanges) {
  const auto tables = load_tensors(SWAGE_TEST_DATA "/solvers/scalars.safetensors");
  for (const auto& [name, dtype] : dtypes()) {
    const at::Tensor low = tables.at("int.min_" + name), high = tables.at("int.max_" + name);
    for (const int bits : {2, 3, 4, 8}) {
      for (const bool symmetric : {true, false}) {
        const std::string key = (symmetric ? "int.sym" : "int.asym") + std::to_string(bits) + "_" + name;
        SCOPED_TRACE(key);
        GridSpec spec;
        spec.code_min = -std::ldexp(1.0, bits - 1);
        spec.code_max = std::ldexp(1.0, bits - 1) - 1;
        spec.symmetric = symmetric;
        spec.scale_dtype = dtype;
        const RangeScales found = scales_of_ranges(low, high, spec, dtype);
        EXPECT_TRUE(found.scale.equal(tables.at(key + ".scale").to(at::kFloat)));
        if (!symmetric) {
          EXPECT_TRUE(found.zero_point.equal(tables.at(key + ".zero_point").to(at::kFloat)));
        }
      }
    }
    const RangeScales fp8 = scales_of_ranges(low, high, golden_float_spec(CodeType::Fp8E4M3, dtype), dtype);
    EXPECT_TRUE(fp8.scale.equal(tables.at("fp8." + name + ".scale").to(at::kFloat))) << name;
  }
}

// Exponent bytes of MX scales. In F16 the library rounds scales below 2^-24 and those of subnormals up, mostly to 2^0,
// and in all types those of groups beyond 1.75 * 2^127 (an infinity) become 2^0; swage keeps them.
TEST(GridVectors, MxExponents) {
  const auto tables = load_tensors(SWAGE_TEST_DATA "/solvers/scalars.safetensors");
  for (const auto& [name, dtype] : dtypes()) {
    const at::Tensor largest = tables.at("e8m0.amax_" + name);
    for (const auto& [type, bits] :
         {std::pair{CodeType::Fp4E2M1, "4bit"}, {CodeType::Fp6E2M3, "6bit"}, {CodeType::Fp8E4M3, "8bit"}}) {
      const RangeScales found = scales_of_ranges(-largest, largest, golden_float_spec(type, at::kByte), dtype);
      const at::Tensor want =
          at::exp2(tables.at("e8m0.stored_" + name + "_" + bits).to(at::kDouble) - 127).to(at::kFloat);
      const at::Tensor lost =
          dtype == at::kHalf ? (found.scale < 0x1p-24).logical_or(largest < 0x1p-14) : largest >= 0x1.cp127;
      EXPECT_TRUE((found.scale == want).logical_or(lost).all().item<bool>()) << name << " " << bits;
    }
  }
}

// Linears that an engine fuses share the global scale of the largest among them, and each keeps its own local scales.
TEST(GridVectors, FusedWeightsShareAGlobalScale) {
  at::manual_seed(5);
  const std::vector<at::Tensor> weights{at::randn({8, 32}).to(at::kBFloat16),
                                        at::randn({4, 32}).mul(3).to(at::kBFloat16)};
  const at::Tensor shared = shared_global_scale(weights);
  EXPECT_TRUE(
      shared.equal(weights[1].abs().max().reciprocal().mul(2688).to(at::kFloat).reshape({1})));  // each step in bf16
  GridSpec spec = golden_float_spec(CodeType::Fp4E2M1, at::kFloat8_e4m3fn);
  spec.group_size = 16;
  for (const at::Tensor& w_OI : weights) {
    const Grid grid = find_grid(w_OI, spec, by_absmax(), {}, shared);
    EXPECT_TRUE(grid.global_scale.equal(shared));
    const at::Tensor local_OG = grid.scale_OG * shared;
    EXPECT_TRUE(at::allclose(local_OG, local_OG.to(at::kFloat8_e4m3fn).to(at::kFloat), 1e-6, 0));
  }
  EXPECT_TRUE(shared_global_scale({at::zeros({2, 3})}).equal(at::ones({1})));
  // Beyond F16's range: the library would fall back to 1 and lose the local scales.
  EXPECT_NEAR(global_scale_of(0.02, at::kHalf).item<float>(), 134400, 1);
  EXPECT_THROW(find_grid(weights[0], spec, by_absmax(), {}, at::full({1}, INFINITY)), Error);
  EXPECT_THROW(find_grid(weights[0], golden_float_spec(CodeType::Fp8E4M3, at::kFloat), by_absmax(), {}, shared), Error);
}

}  // namespace
}  // namespace swage::solvers
