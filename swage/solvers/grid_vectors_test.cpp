// Round-to-nearest with absmax scales against what compressed-tensors 0.20 wrote.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>
#include <set>

#include "swage/solvers/grid.h"
#include "swage/solvers/test_vectors.h"

namespace swage::solvers {
namespace {

struct Case {
  GridSpec spec;
  std::string input;
};

// The grid of a case, or false if its scheme has other scales than one for each row or group, or other codes.
bool read_case(const std::string& path, Case& found) {
  const Json json = parse_json(read_text(path), path);
  const Json* scheme = json.find("scheme");
  const Json* weights = scheme == nullptr ? nullptr : scheme->find("weights");
  if (weights == nullptr || weights->is_null() || json.get_string("format", "") == "dense") return false;  // dense: no codes
  const int64_t bits = weights->at("num_bits").as_int();
  const std::string strategy = weights->get_string("strategy", "");
  const bool fp8 = weights->get_string("type", "int") == "float";
  if ((strategy != "group" && strategy != "channel") || bits > 8 || (fp8 && bits != 8)) return false;
  if (!weights->get_string("scale_dtype", "").empty()) return false;
  found.input = json.at("input").at("tensor").as_string();
  found.spec.type = fp8 ? CodeType::Fp8E4M3 : CodeType::Int;
  found.spec.code_min = fp8 ? -448.0 : -static_cast<double>(int64_t{1} << (bits - 1));
  found.spec.code_max = fp8 ? 448.0 : static_cast<double>((int64_t{1} << (bits - 1)) - 1);
  found.spec.symmetric = weights->get_bool("symmetric", true);
  found.spec.group_size = strategy == "group" ? weights->at("group_size").as_int() : 0;
  return true;
}

// Codes as integers whose difference counts steps of the grid.
at::Tensor steps_of(const at::Tensor& codes_OI) {
  if (codes_OI.scalar_type() == at::kChar) return codes_OI.to(at::kInt);
  const at::Tensor bytes_OI = codes_OI.view(at::kByte).to(at::kInt), magnitude_OI = bytes_OI.bitwise_and(0x7F);
  return at::where(bytes_OI >= 128, -magnitude_OI, magnitude_OI);
}

// Scales and zero points bit for bit. Codes from f32 bit for bit; from bf16 and f16 at most one step apart, because swage
// divides in f32 where the reference's CPU path rounds the quotient to the weight's dtype.
void check_case(const std::string& folder, const std::string& name, const Case& with, const std::map<std::string, at::Tensor>& inputs) {
  SCOPED_TRACE(name);
  const auto tensors = load_tensors(folder + "/ct-0.20.0/" + name + ".safetensors");
  const at::Tensor w_OI = inputs.at(with.input);
  GridSpec spec = with.spec;
  spec.scale_dtype = w_OI.scalar_type();
  ScaleSearch absmax;
  absmax.kind = ScaleSearch::Kind::Absmax;
  const Grid grid = find_grid(w_OI, spec, absmax);
  const at::Tensor want_OG = tensors.at("qparam.weight_scale");
  ASSERT_EQ(want_OG.scalar_type(), w_OI.scalar_type());
  EXPECT_TRUE(grid.scale_OG.equal(want_OG.to(at::kFloat)));
  if (!spec.symmetric) {
    EXPECT_TRUE(grid.zero_point_OG.equal(tensors.at("qparam.weight_zero_point").to(at::kFloat)));
  }
  const at::Tensor codes_OI = quantize_to_grid(w_OI, grid);
  const at::Tensor want_OI = tensors.contains("codes.weight") ? tensors.at("codes.weight") : tensors.at("compressed.weight");
  ASSERT_EQ(codes_OI.scalar_type(), want_OI.scalar_type());
  const int64_t apart = (steps_of(codes_OI) - steps_of(want_OI)).abs().max().item<int64_t>();
  EXPECT_LE(apart, w_OI.scalar_type() == at::kFloat ? 0 : 1);
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
  std::cout << "grid vectors: " << checked << " cases of the " << (full ? "full set" : "bundled selection") << std::endl;
  RecordProperty("cases", checked);
  EXPECT_GE(checked, full ? 60 : 12);
}

TEST(GridVectors, BundledSelectionEqualsToo) { EXPECT_GE(check_folder(SWAGE_TEST_DATA "/solvers"), 12); }

}  // namespace
}  // namespace swage::solvers
