// The kernels for GPUs that are a pass over memory, and the Gram matrix, against plain arithmetic.
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "swage/base/error.h"
#include "swage/ops/device_test_support.h"
#include "swage/ops/gram.h"
#include "swage/ops/products.h"

namespace swage::ops {
namespace {

class DeviceKernels : public OnDevice {};
SWAGE_ON_DEVICE(DeviceKernels);

double relative_error(const at::Tensor& out, const at::Tensor& expected) {
  const at::Tensor wanted = expected.to(at::kCPU, at::kDouble), got = out.to(at::kCPU, at::kDouble);
  return (got - wanted).norm().item<double>() / wanted.norm().item<double>();
}

// bf16 inputs lose nothing in their products; f32 sums of so few tokens err less than 1e-6 (2^-24 times the square root
// of their number).
TEST_P(DeviceKernels, GramOfNarrowInputsIsThatOfTheirValues) {
  at::manual_seed(1);
  const int64_t columns = larger(300, 1100), tokens = larger(200, 3000);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x_TI = at::randn({tokens, columns}).to(type), exact_TI = x_TI.to(at::kDouble);
    at::Tensor gram_II = at::zeros({columns, columns}, at::device(device()).dtype(at::kDouble));
    gram_add_panels(x_TI.to(device()), gram_II, table());
    gram_add_panels(x_TI.to(device()), gram_II, table());
    EXPECT_LT(relative_error(gram_II.triu(), at::mm(exact_TI.t(), exact_TI).mul(2).triu()), 1e-6) << type;
    EXPECT_EQ(gram_II.tril(-1).count_nonzero().item<int64_t>(), 0);
  }
}

TEST_P(DeviceKernels, DequantizedValuesAreCodeLessZeroTimesScale) {
  at::manual_seed(2);
  const int64_t rows = 5, columns = 96, group = 32;
  const at::Tensor codes_OI = at::randint(0, 256, {rows, columns}).to(at::kByte);
  const at::Tensor scale_OG = at::randn({rows, columns / group}).abs_().add_(0.1),
                   zero_OG = at::randint(-8, 8, {rows, columns / group}).to(at::kFloat);
  const at::Tensor expected_OI = codes_OI.view(at::kChar)
                                     .to(at::kFloat)
                                     .sub(zero_OG.repeat_interleave(group, 1))
                                     .mul(scale_OG.repeat_interleave(group, 1));
  const at::Tensor codes = codes_OI.to(device()), scale = scale_OG.to(device()), zero = zero_OG.to(device());
  const at::Tensor out_OI = at::empty({rows, columns}, at::device(device()).dtype(at::kFloat)).fill_(NAN);
  run("dequantize", table().dequantize,
      kernels::DequantizeRows{codes.const_data_ptr<uint8_t>(), rows, columns, group, scale.const_data_ptr<float>(),
                              zero.const_data_ptr<float>(), kernels::CodeKind::Int, out_OI.mutable_data_ptr<float>()},
      device());
  EXPECT_TRUE(out_OI.cpu().equal(expected_OI));
}

// f32 arithmetic in another order: 2^-24 a step, a handful of steps.
constexpr double kRounding = 1e-6;

TEST_P(DeviceKernels, RmsNorm) {
  at::manual_seed(3);
  const int64_t rows = 3, size = larger(300, 4096);
  const at::Tensor x = at::randn({rows, size}), weight = at::randn({size});
  const at::Tensor exact = x.to(at::kDouble),
                   expected = exact * at::rsqrt(exact.mul(exact).mean(-1, true).add_(1e-5)) * weight.to(at::kDouble);
  const at::Tensor x_there = x.to(device()), weight_there = weight.to(device()),
                   out = at::empty_like(x_there).fill_(NAN);
  const at::Tensor narrow = at::empty({rows, size}, at::device(device()).dtype(at::kBFloat16)).fill_(NAN);
  kernels::RmsNormRows p{x_there.const_data_ptr<float>(),
                         weight_there.const_data_ptr<float>(),
                         rows,
                         size,
                         1e-5f,
                         out.mutable_data_ptr<float>(),
                         nullptr};
  run("rms_norm", table().rms_norm, p, device());
  EXPECT_LT(relative_error(out, expected), kRounding);
  p.out_bf16 = static_cast<uint16_t*>(narrow.mutable_data_ptr());
  run("rms_norm", table().rms_norm, p, device());
  EXPECT_TRUE(narrow.equal(out.to(at::kBFloat16)));
}

TEST_P(DeviceKernels, SiluMultiply) {
  at::manual_seed(4);
  const int64_t count = larger(1000, 300000);
  const at::Tensor gate = at::randn({count}).mul_(4), up = at::randn({count});
  const at::Tensor expected = gate.to(at::kDouble) * at::sigmoid(gate.to(at::kDouble)) * up.to(at::kDouble);
  const at::Tensor out = gate.to(device(), gate.scalar_type(), false, true), up_there = up.to(device());
  run("silu_multiply", table().silu_multiply,
      kernels::SiluMultiply{out.mutable_data_ptr<float>(), up_there.const_data_ptr<float>(), count}, device());
  EXPECT_LT(relative_error(out, expected), kRounding);
}

TEST_P(DeviceKernels, RotatedHeads) {
  at::manual_seed(5);
  const int64_t tokens = larger(7, 513), heads = 3, half = 32;
  const at::Tensor x = at::randn({tokens, heads, 2 * half}), angle = at::randn({tokens, half}),
                   c = angle.cos().unsqueeze(1), s = angle.sin().unsqueeze(1);
  const at::Tensor first = x.narrow(2, 0, half), second = x.narrow(2, half, half);
  at::Tensor expected = at::empty_like(x);
  expected.narrow(2, 0, half).copy_(first * c - second * s);
  expected.narrow(2, half, half).copy_(second * c + first * s);
  const at::Tensor out = x.to(device(), x.scalar_type(), false, true), cosine = angle.cos().to(device()),
                   sine = angle.sin().to(device());
  run("rotate_heads", table().rotate_heads,
      kernels::RotateHeads{out.mutable_data_ptr<float>(), cosine.const_data_ptr<float>(), sine.const_data_ptr<float>(),
                           tokens, heads, half},
      device());
  EXPECT_LT(relative_error(out, expected), kRounding);
}

TEST_P(DeviceKernels, ProductsOfNarrowMatricesAreSummedInF32) {
  at::manual_seed(6);
  const at::Tensor a = at::randn({130, 700}).to(at::kBFloat16), b = at::randn({260, 700}).to(at::kBFloat16);
  const at::Tensor out = product(a.to(device()), b.to(device()).t());
  EXPECT_EQ(out.scalar_type(), at::kFloat);
  EXPECT_LT(relative_error(out, at::mm(a.to(at::kDouble), b.to(at::kDouble).t())), 1e-6);
  at::Tensor sum = out.clone();
  add_product(a.to(device()), b.to(device()).t(), sum);
  EXPECT_LT(relative_error(sum, at::mm(a.to(at::kDouble), b.to(at::kDouble).t()).mul(2)), 1e-6);
}

TEST(DeviceData, PointersOfAnotherDeviceOrTypeAreRefused) {
  const at::Tensor here = at::ones({2, 2}), elsewhere = at::ones({2, 2}, at::device(at::kMeta).dtype(at::kFloat));
  EXPECT_EQ(data_on<float>(at::kCPU, here, "test"), here.const_data_ptr<float>());
  const auto is_refused = [](const at::Tensor& tensor) {
    try {
      data_on<float>(at::kCPU, tensor, "test");
      return false;
    } catch (const Error& e) {
      return e.kind() == ErrorKind::Internal &&
             std::string(e.what()).find("test: expected a contiguous tensor") != std::string::npos;
    }
  };
  EXPECT_TRUE(is_refused(elsewhere));
  EXPECT_TRUE(is_refused(here.to(at::kInt)));
  EXPECT_TRUE(is_refused(here.t().narrow(0, 0, 1).t()));
}

TEST(Narrow, FollowsItsMatrix) {
  Narrow narrow;
  at::Tensor weight = at::ones({2, 2});
  EXPECT_TRUE(narrow.of(weight).is_same(weight)) << "the CPU computes in f32";
}

}  // namespace
}  // namespace swage::ops
