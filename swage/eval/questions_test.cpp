#include "swage/eval/questions.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage::eval {
namespace {

using graph::ModelProgram, graph::Predicts;

ModelProgram model_of(Predicts predicts) {
  ModelProgram out;
  out.predicts = predicts;
  return out;
}

TEST(Questions, OfACausalModelAreAllTokensButTheFirst) {
  const at::Tensor windows_NL = at::arange(12).view({2, 6});
  const Questions asked = questions_of(model_of(Predicts::Next), windows_NL, {});
  EXPECT_TRUE(asked.ids_NL.equal(windows_NL));
  EXPECT_TRUE(asked.places_NP.equal(at::arange(5).expand({2, 5})));
  EXPECT_TRUE(asked.answers_NP.equal(windows_NL.narrow(1, 1, 5)));
}

TEST(Questions, OfAMaskedModelAreAFewTokensThatItCannotSee) {
  const at::Tensor windows_NL = at::arange(3 * 42).view({3, 42}) + 1000;
  const Masking masking{.token = 7, .prefix = 1, .suffix = 1};
  const Questions asked = questions_of(model_of(Predicts::Masked), windows_NL, masking);
  ASSERT_EQ(asked.places_NP.sizes(), at::IntArrayRef({3, 6}));  // 15 % of 40
  EXPECT_TRUE(asked.answers_NP.equal(windows_NL.gather(1, asked.places_NP)));
  const at::Tensor masked_NL = asked.ids_NL.eq(7);
  EXPECT_EQ(masked_NL.sum().item<int64_t>(), 18);  // no place twice
  EXPECT_TRUE(
      asked.ids_NL.masked_select(masked_NL.logical_not()).equal(windows_NL.masked_select(masked_NL.logical_not())));
  EXPECT_FALSE(masked_NL.select(1, 0).any().item<bool>());
  EXPECT_FALSE(masked_NL.select(1, 41).any().item<bool>());
  EXPECT_TRUE(asked.places_NP.diff().gt(0).all().item<bool>());
  EXPECT_FALSE(asked.places_NP[0].equal(asked.places_NP[1]));  // 1 in 4 million if drawn well
  EXPECT_TRUE(asked.places_NP.equal(questions_of(model_of(Predicts::Masked), windows_NL, masking).places_NP));
}

TEST(Questions, RowsAreThoseOfThePlaces) {
  const at::Tensor hidden_LD = at::arange(20).view({10, 2}), run_P = at::arange(2, 9),
                   some_P = at::tensor({1, 4, 5}, at::kLong);
  EXPECT_TRUE(rows_asked(hidden_LD, run_P, 1, 4).equal(hidden_LD.narrow(0, 3, 4)));
  EXPECT_TRUE(rows_asked(hidden_LD, some_P, 0, 3).equal(hidden_LD.index_select(0, some_P)));
  EXPECT_TRUE(rows_asked(hidden_LD, some_P, 1, 2).equal(hidden_LD.narrow(0, 4, 2)));
}

TEST(Questions, ModelsWithoutAPerplexityAreRefused) {
  const at::Tensor windows_NL = at::zeros({1, 8}, at::kLong);
  const Masking known{.token = 7};
  EXPECT_THROW(questions_of(model_of(Predicts::Nothing), windows_NL, known), Error);
  EXPECT_THROW(questions_of(model_of(Predicts::Replaced), windows_NL, known), Error);
  EXPECT_THROW(questions_of(model_of(Predicts::Masked), windows_NL, {}), Error);  // no mask token
  EXPECT_THROW(questions_of(model_of(Predicts::Masked), windows_NL, {.token = 7, .prefix = 4, .suffix = 4}), Error);
  ModelProgram t5 = model_of(Predicts::Next);
  t5.target.emplace();
  EXPECT_THROW(questions_of(t5, windows_NL, known), Error);
  EXPECT_THROW(questions_of(model_of(Predicts::Next), at::zeros({1, 1}, at::kLong), {}), Error);
}

}  // namespace
}  // namespace swage::eval
