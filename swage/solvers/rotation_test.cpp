#include "swage/solvers/rotation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/solvers/hadamard.h"

namespace swage::solvers {
namespace {

using testing::HasSubstr;

// Sums of at most 2^20 ones are exact in f64.
void expect_hadamard(int64_t n) {
  const at::Tensor h = hadamard(n);
  EXPECT_TRUE(h.abs().eq(1).all().item<bool>()) << n;
  EXPECT_TRUE(at::mm(h, h.t()).equal(at::eye(n, at::kDouble) * double(n))) << n;
}

TEST(Hadamard, EveryOrderThatIsGivenIsOne) {
  int64_t orders = 0;
  for (int64_t n = 1; n <= 320; ++n) {
    if (hadamard_core(n) == 0) continue;
    expect_hadamard(n);
    ++orders;
  }
  EXPECT_GT(orders, 60);
  // Hidden sizes of SmolLM, Qwen2.5, Llama and Mistral: 64 * 9, 64 * 15, 128 * 7, 1024 * 5; cores by both of Paley's
  // constructions.
  EXPECT_EQ(hadamard_core(576), 36);
  EXPECT_EQ(hadamard_core(960), 60);
  EXPECT_EQ(hadamard_core(896), 28);
  EXPECT_EQ(hadamard_core(5120), 20);
  for (const int64_t n : {576, 896, 960, 1536}) expect_hadamard(n);
  for (const int64_t n : {3072, 3584, 4096, 5120, 6656, 8192, 14336, 18432}) EXPECT_GT(hadamard_core(n), 0) << n;
}

TEST(Hadamard, OtherOrdersAreRefused) {
  for (const int64_t n : {-4, 0, 3, 6, 9, 30, 92, 100}) {
    EXPECT_EQ(hadamard_core(n), 0) << n;
    EXPECT_THROW(hadamard(n), Error) << n;
  }
}

// compressed-tensors 0.19, deterministic_hadamard_matrix(16).
TEST(Hadamard, PowersOfTwoAreSylvesters) {
  const char* const rows[16] = {"++++++++++++++++", "+-+-+-+-+-+-+-+-", "++--++--++--++--", "+--++--++--++--+",
                                "++++----++++----", "+-+--+-++-+--+-+", "++----++++----++", "+--+-++-+--+-++-",
                                "++++++++--------", "+-+-+-+--+-+-+-+", "++--++----++--++", "+--++--+-++--++-",
                                "++++--------++++", "+-+--+-+-+-++-+-", "++----++--++++--", "+--+-++--++-+--+"};
  const at::Tensor h = hadamard(16);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) EXPECT_EQ(h[i][j].item<double>(), rows[i][j] == '+' ? 1 : -1) << i << " " << j;
  }
}

constexpr RotationKind kKinds[] = {RotationKind::Hadamard, RotationKind::RandomHadamard, RotationKind::RandomMatrix};

// Entries are sums of n products rounded to f32, 2^-24 each of numbers of at most 1: within n 2^-23.
TEST(Rotation, IsOrthogonalAndTheSameForColumnsAndRows) {
  at::manual_seed(3);
  for (const RotationKind kind : kKinds) {
    for (const int64_t n : {1, 2, 8, 36, 64, 288}) {
      const ops::Transform turned = rotation(kind, n, 5);
      const at::Tensor r = turned.matrix(), identity = at::eye(n, at::kFloat);
      const double bound = double(n) * 0x1p-23;
      EXPECT_LE((at::mm(r, r.t()) - identity).abs().max().item<double>(), bound) << n;
      const at::Tensor x = at::randn({5, 3 * n}), blocks = at::block_diag({r, r, r});
      EXPECT_LE((turned.columns(x) - at::mm(x, blocks)).abs().max().item<double>(), 8 * bound) << n;
      EXPECT_LE((turned.rows(x.t()) - at::mm(blocks.t(), x.t())).abs().max().item<double>(), 8 * bound) << n;
      const at::Tensor experts = at::randn({2, n, 3});
      EXPECT_LE((turned.rows(experts)[1] - turned.rows(experts[1])).abs().max().item<double>(), 8 * bound) << n;
    }
  }
}

TEST(Rotation, PlainHadamardIsTheMatrixItself) {
  const at::Tensor expected = hadamard(72) / std::sqrt(72.0);
  EXPECT_LE((rotation(RotationKind::Hadamard, 72, 1).matrix() - expected).abs().max().item<double>(), 0x1p-23);
}

// The first bits of splitmix64 with seed 7, from an independent Python version.
TEST(Rotation, SignsAreThoseOfTheSeed) {
  const std::string signs = "--++-------++++++-+++---";
  const at::Tensor plain = rotation(RotationKind::Hadamard, 24, 7).matrix(),
                   signed_rows = rotation(RotationKind::RandomHadamard, 24, 7).matrix();
  for (int i = 0; i < 24; ++i) EXPECT_TRUE(signed_rows[i].equal(signs[size_t(i)] == '+' ? plain[i] : -plain[i])) << i;
}

TEST(Rotation, SeedsDifferAndThreadsDoNot) {
  const int threads = at::get_num_threads();
  at::manual_seed(4);
  const at::Tensor x = at::randn({3000, 288});
  for (const RotationKind kind : {RotationKind::RandomHadamard, RotationKind::RandomMatrix}) {
    at::set_num_threads(1);
    const at::Tensor alone = rotation(kind, 288, 5).columns(x);
    at::set_num_threads(3);
    EXPECT_TRUE(rotation(kind, 288, 5).columns(x).equal(alone));
    EXPECT_FALSE(rotation(kind, 288, 6).columns(x).equal(alone));
  }
  at::set_num_threads(threads);
}

TEST(Rotation, SizesThatDoNotFitAreRefused) {
  try {
    rotation(RotationKind::RandomHadamard, 92, 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
    EXPECT_THAT(e.what(), HasSubstr("no Hadamard matrix of order 92 is known here"));
  }
  EXPECT_NO_THROW(rotation(RotationKind::RandomMatrix, 92, 1));
  EXPECT_THROW(rotation(RotationKind::Hadamard, 0, 1), Error);
  EXPECT_THROW(rotation(RotationKind::Hadamard, 8, 1).columns(at::zeros({2, 12})), Error);
}

}  // namespace
}  // namespace swage::solvers
