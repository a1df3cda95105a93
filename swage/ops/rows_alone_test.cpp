// What the forward of many sequences takes from libtorch as it is: functions whose rows do not depend on the rows
// beside them.
#include "swage/ops/rows_alone.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>

namespace swage::ops {
namespace {

using Function = std::function<at::Tensor(const at::Tensor&)>;

const std::map<std::string, Function>& functions() {
  static const std::map<std::string, Function> all = {
      {"layer_norm", [](const at::Tensor& x) { return at::layer_norm(x, {x.size(1)}, {}, {}, 1e-5); }},
      {"rms_norm", [](const at::Tensor& x) { return at::rms_norm(x, {x.size(1)}, {}, 1e-5); }},
      {"softmax", [](const at::Tensor& x) { return at::softmax(x, -1); }},
      {"sum", [](const at::Tensor& x) { return x.sum(-1, true); }},
      {"mean", [](const at::Tensor& x) { return x.mean(1, true); }},
      {"deviation", [](const at::Tensor& x) { return x.std(at::IntArrayRef{1}, false, true); }},
      {"length", [](const at::Tensor& x) { return x.square().mean(1, true).sqrt_(); }},
      {"topk", [](const at::Tensor& x) { return std::get<0>(at::topk(x, 5, -1)); }},
  };
  return all;
}

class RowsOfLibtorch : public testing::TestWithParam<std::string> {};

TEST_P(RowsOfLibtorch, DoNotDependOnTheOthers) {
  at::manual_seed(8);
  const Function& of = functions().at(GetParam());
  for (const int64_t width : {5, 8, 31, 60, 64, 100, 576, 1536, 4096}) {
    const at::Tensor x = at::randn({37, width}), all = of(x);
    for (int64_t row = 0; row < x.size(0); ++row) {
      ASSERT_TRUE(at::equal(of(x.narrow(0, row, 1)), all.narrow(0, row, 1))) << width << ", row " << row;
      ASSERT_TRUE(at::equal(of(x.narrow(0, row, 1).clone()), all.narrow(0, row, 1))) << width << ", row " << row;
    }
    ASSERT_TRUE(at::equal(of(x.narrow(0, 3, 9)), all.narrow(0, 3, 9))) << width;
  }
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& [name, of] : functions()) out.push_back(name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(All, RowsOfLibtorch, testing::ValuesIn(names()), [](const auto& info) { return info.param; });

// Which those are not: a function of each number is another one at a tensor's end.
TEST(EachRow, IsTheSameInAnyBatch) {
  const RowsAlone alone;
  at::manual_seed(9);
  for (const int64_t width : {5, 31, 100}) {
    const at::Tensor x = at::randn({11, width});
    at::Tensor all = x.clone(), part = x.narrow(0, 4, 3).clone();
    const auto of = [](at::Tensor& rows) { at::sigmoid_(rows); };
    each_row(all, of);
    each_row(part, of);
    EXPECT_TRUE(at::equal(part, all.narrow(0, 4, 3)));
  }
}

TEST(RowsAlone, EndsWithItsScope) {
  EXPECT_FALSE(RowsAlone::on());
  {
    const RowsAlone alone;
    EXPECT_TRUE(RowsAlone::on());
    const RowsAlone again;
  }
  EXPECT_FALSE(RowsAlone::on());
}

}  // namespace
}  // namespace swage::ops
