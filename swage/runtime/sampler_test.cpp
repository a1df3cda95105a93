#include "swage/runtime/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "swage/base/error.h"
#include "swage/base/json.h"

namespace swage::runtime {
namespace {

SamplingOptions options_of(const Json& one) {
  SamplingOptions out;
  out.temperature = one.get_double("temperature", 1);
  out.repetition_penalty = one.get_double("repetition_penalty", 1);
  out.top_k = one.get_int("top_k", 0);
  out.top_p = one.get_double("top_p", 1);
  out.min_p = one.get_double("min_p", 0);
  out.typical_p = one.get_double("typical_p", 1);
  return out;
}

template <class Number, class Read>
std::vector<Number> list_of(const Json& array, Read read) {
  std::vector<Number> out;
  for (const Json& one : array.as_array()) out.push_back(Number((one.*read)()));
  return out;
}

// What transformers' processors leave, each alone and several after one another. Penalties act on f32 logits here and
// on f64 there: 2^-24 of logits up to 20, over a temperature of 0.3.
TEST(Sampler, LeavesWhatTransformersLeaves) {
  std::ifstream file(std::filesystem::path(SWAGE_TEST_DATA) / "runtime" / "sampler.json");
  std::ostringstream text;
  text << file.rdbuf();
  const Json data = parse_json(text.str(), "sampler.json");
  int64_t number = 0;
  for (const Json& one : data.at("cases").as_array()) {
    const auto logits = list_of<float>(one.at("logits"), &Json::as_double);
    const auto prompt = list_of<int64_t>(one.at("prompt"), &Json::as_int);
    auto expected = list_of<double>(one.at("probabilities"), &Json::as_double);
    std::vector<double> found(expected.size(), 0.0);
    const Sampler sampler(options_of(one), prompt, 0);
    for (const Candidate& candidate : sampler.candidates(logits.data(), int64_t(logits.size()), {}))
      found[size_t(candidate.id)] = candidate.weight;
    const std::set<float> different(logits.begin(), logits.end());
    if (different.size() < logits.size()) {  // which one of equals is left is not said
      std::sort(found.begin(), found.end());
      std::sort(expected.begin(), expected.end());
    }
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_NEAR(found[i], expected[i], 1e-5) << "case " << number << ", " << i;
    ++number;
  }
  EXPECT_EQ(number, 60);
}

int64_t next(const SamplingOptions& options, std::vector<float> logits, const std::vector<int64_t>& prompt = {},
             const Permitted& permitted = {}) {
  return Sampler(options, prompt, 0).next(logits.data(), int64_t(logits.size()), permitted);
}

TEST(Sampler, GreedyTakesTheMostLikelyAndTheLowerIdOnTies) {
  EXPECT_EQ(next({}, {0.5f, 2.0f, 2.0f, -1.0f}), 1);
  EXPECT_EQ(next({}, {0.5f, 2.0f, 2.0f, -1.0f}, {}, {.banned = {1}}), 2);
  EXPECT_EQ(next({}, {0.5f, 2.0f, 2.0f, -1.0f}, {}, {.allowed = {0b1001}}), 0);
}

TEST(Sampler, BiasesAndPenaltiesMoveTheChoice) {
  SamplingOptions options;
  options.logit_bias = {{3, 4.0}};
  EXPECT_EQ(next(options, {0.5f, 2.0f, 1.0f, -1.0f}), 3);
  options = {};
  options.repetition_penalty = 3;
  EXPECT_EQ(next(options, {0.5f, 2.0f, 1.0f}, {1}), 2);
  // What was made counts as often as it was made, or once; the prompt does not.
  for (const bool often : {true, false}) {
    options = {};
    (often ? options.frequency_penalty : options.presence_penalty) = 0.6;
    Sampler sampler(options, {0, 0, 0}, 0);
    const std::vector<float> logits = {2.0f, 1.0f, 0.0f};
    std::vector<int64_t> made;
    for (int i = 0; i < 5; ++i) made.push_back(sampler.next(logits.data(), 3, {}));
    EXPECT_EQ(made, often ? (std::vector<int64_t>{0, 0, 1, 0, 1}) : (std::vector<int64_t>{0, 0, 0, 0, 0})) << often;
  }
}

// 20000 draws: a frequency lies within 4 standard deviations, 4*sqrt(p(1-p)/n) < 0.0142, of its probability.
TEST(Sampler, TemperatureSamplesTheSoftmax) {
  const std::array<double, 3> p = {0.6, 0.3, 0.1};
  const std::vector<float> logits = {std::log(0.6f), std::log(0.3f), std::log(0.1f)};
  std::array<int, 3> seen = {};
  SamplingOptions options;
  options.temperature = 1;
  options.seed = 7;
  Sampler sampler(options, {}, 0);
  for (int i = 0; i < 20000; ++i) ++seen[size_t(sampler.next(logits.data(), 3, {}))];
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(seen[i] / 20000.0, p[i], 0.0142);
}

TEST(Sampler, SameSeedSameTokensAndEachChoiceItsOwn) {
  std::vector<float> logits(50);
  for (size_t i = 0; i < 50; ++i) logits[i] = float(std::sin(double(i)));
  SamplingOptions options;
  options.temperature = 1.3;
  options.top_p = 0.9;
  options.seed = 3;
  const auto drawn = [&](int64_t choice) {
    Sampler sampler(options, {}, choice);
    std::vector<int64_t> out;
    for (int i = 0; i < 100; ++i) out.push_back(sampler.next(logits.data(), 50, {}));
    return out;
  };
  EXPECT_EQ(drawn(0), drawn(0));
  EXPECT_NE(drawn(0), drawn(1));
  EXPECT_NE(drawn(1), drawn(2));
}

TEST(Sampler, LogProbabilitiesAreThoseOfTheModel) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.2f), std::log(0.3f)};
  const LogProbabilities found = log_probabilities(logits.data(), 3, 1, 2);
  EXPECT_NEAR(found.chosen, std::log(0.2), 1e-6);
  ASSERT_EQ(found.top.size(), 2u);
  EXPECT_EQ(found.top[0].first, 0);
  EXPECT_EQ(found.top[1].first, 2);
  EXPECT_NEAR(found.top[1].second, std::log(0.3), 1e-6);
  EXPECT_TRUE(log_probabilities(logits.data(), 3, 1, 0).top.empty());
}

TEST(Sampler, OptionsThatMakeNoSenseAreRefused) {
  const auto refused = [](auto change) {
    SamplingOptions options;
    change(options);
    EXPECT_THROW(check_sampling(options, 10), Error);
  };
  refused([](SamplingOptions& o) { o.temperature = std::nan(""); });
  refused([](SamplingOptions& o) { o.top_k = -1; });
  refused([](SamplingOptions& o) { o.top_p = 1.5; });
  refused([](SamplingOptions& o) { o.min_p = -0.1; });
  refused([](SamplingOptions& o) { o.typical_p = 0; });
  refused([](SamplingOptions& o) { o.repetition_penalty = 0; });
  refused([](SamplingOptions& o) { o.frequency_penalty = 3; });
  refused([](SamplingOptions& o) { o.presence_penalty = -3; });
  refused([](SamplingOptions& o) { o.logit_bias = {{10, 1.0}}; });
  EXPECT_NO_THROW(check_sampling({}, 10));
}

}  // namespace
}  // namespace swage::runtime
