#include "swage/modifiers/solver_glue.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/modifiers/weight_grids.h"
#include "swage/scheme/presets.h"

namespace swage::modifiers {
namespace {

using scheme::Strategy;

scheme::QuantizationArgs args_of(int bits, scheme::NumberType type, Strategy strategy) {
  scheme::QuantizationArgs args;
  args.num_bits = bits;
  args.type = type;
  args.strategy = strategy;
  return args;
}

// Every kind of weights that a scheme can ask for.
std::vector<scheme::QuantizationArgs> all_kinds() {
  std::vector<scheme::QuantizationArgs> all;
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {true, false}) {
      for (const Strategy strategy : {Strategy::Tensor, Strategy::Channel, Strategy::Group, Strategy::Block}) {
        all.push_back(args_of(bits, scheme::NumberType::Int, strategy));
        all.back().symmetric = symmetric;
      }
    }
  }
  for (const Strategy strategy : {Strategy::Tensor, Strategy::Channel, Strategy::Block})
    all.push_back(args_of(8, scheme::NumberType::Float, strategy));
  for (const int bits : {4, 6, 8}) {
    all.push_back(args_of(bits, scheme::NumberType::Float, Strategy::Group));
    all.back().scale_dtype = "torch.uint8";
  }
  all.push_back(args_of(4, scheme::NumberType::Float, Strategy::TensorGroup));
  all.back().scale_dtype = "torch.float8_e4m3fn";
  for (scheme::QuantizationArgs& args : all) {
    if (args.strategy == Strategy::Group || args.strategy == Strategy::TensorGroup)
      args.group_size = args.strategy == Strategy::Group ? 32 : 16;
    if (args.strategy == Strategy::Block) args.block_structure = {16, 24};
  }
  return all;
}

// What the stored fields mean: (code - zero point) * scale / global scale, tile by tile.
at::Tensor values_of(const format::QuantizedWeight& weight, const solvers::Grid& grid) {
  const int64_t rows = weight.codes_OI.size(0), columns = weight.codes_OI.size(1);
  at::Tensor scale_OG = weight.scale_OG.scalar_type() == at::kByte
                            ? at::exp2(weight.scale_OG.to(at::kDouble) - 127).to(at::kFloat)
                            : weight.scale_OG.to(at::kFloat);
  if (weight.global_scale.defined()) scale_OG = scale_OG / weight.global_scale;
  solvers::Grid stored = grid;
  if (grid.spec.type == solvers::CodeType::Fp6E2M3)
    stored.spec.type = solvers::CodeType::Fp8E4M3;  // kept as the same values
  stored.scale_OG = scale_OG.contiguous();
  if (weight.zero_point_OG.defined()) stored.zero_point_OG = weight.zero_point_OG.to(at::kFloat);
  if (weight.block_rows > 0) {
    EXPECT_EQ(weight.scale_OG.size(0), (rows + weight.block_rows - 1) / weight.block_rows);
    EXPECT_EQ(weight.scale_OG.size(1), (columns + weight.block_columns - 1) / weight.block_columns);
  }
  return solvers::dequantize_from_grid(weight.codes_OI, stored);
}

TEST(SolverGlue, StoredScalesAreThoseOfTheGrid) {
  at::manual_seed(3);
  const at::Tensor w_OI = (at::randn({40, 64}) * 0.1).to(at::kBFloat16);
  for (const scheme::QuantizationArgs& args : all_kinds()) {
    SCOPED_TRACE(testing::Message() << name_of(args.type) << args.num_bits << " " << name_of(args.strategy)
                                    << (args.symmetric ? "" : " asymmetric"));
    for (const char* search : {"absmax", "pnorm"}) {
      const solvers::Grid grid = solvers::find_grid(w_OI, grid_spec(args, at::kBFloat16),
                                                    scale_choice(search, "absmax", {}, "test").search_for(args));
      const at::Tensor codes_OI = solvers::quantize_to_grid(w_OI, grid);
      const format::QuantizedWeight stored = to_stored(codes_OI, grid);
      const at::Tensor values_OI = solvers::dequantize_from_grid(codes_OI, grid);
      EXPECT_TRUE(values_of(stored, grid).equal(values_OI));
      const solvers::SquaredError error = solvers::squared_error(w_OI, codes_OI, grid);
      const double want = (w_OI.to(at::kDouble) - values_OI).square().sum().item<double>();
      constexpr double kSums =
          3e-6;  // runs of kernels::kErrorRun positive terms a lane, then 16 lanes, are summed in f32: 2^-24 each
      EXPECT_NEAR(error.difference, want, kSums * want);
      EXPECT_NEAR(error.whole, w_OI.to(at::kDouble).square().sum().item<double>(), kSums * error.whole);
    }
  }
}

// Scales round up, and the largest code times such a scale can be beyond the type: no reader may find infinity.
TEST(SolverGlue, TheEndOfATypesRangeStaysFinite) {
  at::manual_seed(5);
  for (const auto& [dtype, most] : {std::pair(at::kBFloat16, 3.3895e38), std::pair(at::kHalf, 65504.0)}) {
    for (const double share : {1.0, 0.89, 0.885, 0.996}) {  // on both sides of the rounding of scales and codes
      const at::Tensor w_OI =
          (at::rand({40, 64}) * 2 - 1)
              .mul(most * share)
              .clamp(-most, most)
              .index_put({at::tensor({int64_t{0}}), at::tensor({int64_t{0}})}, at::tensor({float(-most * share)}))
              .to(dtype);
      ASSERT_TRUE(w_OI.isfinite().all().item<bool>());
      for (const scheme::QuantizationArgs& args : all_kinds()) {
        SCOPED_TRACE(testing::Message() << name_of(args.type) << args.num_bits << " " << name_of(args.strategy)
                                        << (args.symmetric ? "" : " asymmetric") << " of " << dtype);
        const solvers::GridSpec spec = grid_spec(args, dtype);
        const at::Tensor global =
            spec.scale_dtype == at::kFloat8_e4m3fn ? solvers::shared_global_scale({w_OI}) : at::Tensor();
        const solvers::Grid grid =
            solvers::find_grid(w_OI, spec, {.kind = solvers::ScaleSearch::Kind::Absmax}, {}, global);
        if (!args.symmetric) {  // from end to end is more than the type holds
          EXPECT_THROW(to_stored(solvers::quantize_to_grid(w_OI, grid), grid), Error);
          continue;
        }
        const at::Tensor values_OI = format::dequantize(to_stored(solvers::quantize_to_grid(w_OI, grid), grid));
        EXPECT_TRUE(values_OI.isfinite().all().item<bool>());
        if (spec.scale_dtype == dtype)
          EXPECT_TRUE(values_OI.to(dtype).isfinite().all().item<bool>())
              << "as a reader in the checkpoint's type has it";
      }
    }
  }
}

TEST(SolverGlue, RefusesWhatNoGridHas) {
  EXPECT_THROW(grid_spec(args_of(8, scheme::NumberType::Int, Strategy::Token), at::kFloat), Error);
  EXPECT_THROW(grid_spec(args_of(8, scheme::NumberType::Int, Strategy::Group), at::kFloat), Error);
  EXPECT_THROW(grid_spec(args_of(16, scheme::NumberType::Int, Strategy::Channel), at::kFloat), Error);
  EXPECT_THROW(grid_spec(args_of(5, scheme::NumberType::Float, Strategy::Channel), at::kFloat), Error);
  EXPECT_THROW(grid_spec(args_of(8, scheme::NumberType::Int, Strategy::Block), at::kFloat), Error);
  scheme::QuantizationArgs args = args_of(4, scheme::NumberType::Int, Strategy::Channel);
  args.scale_dtype = "torch.float64";
  EXPECT_THROW(grid_spec(args, at::kFloat), Error);
}

}  // namespace
}  // namespace swage::modifiers
