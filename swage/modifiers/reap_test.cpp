#include "swage/modifiers/reap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/modifiers/chain.h"

namespace swage::modifiers {
namespace {

using testing::HasSubstr;

std::unique_ptr<Modifier> reap_of(const char* fields) {
  return make_modifier("REAPPruningModifier", parse_json(fields, "fields"), "test");
}

void expect_refused(const char* fields, const char* part) {
  try {
    reap_of(fields);
    ADD_FAILURE() << fields;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument) << fields;
    EXPECT_THAT(e.what(), HasSubstr(part)) << fields;
  }
}

// int(num_experts * sparsity) of LLM Compressor: the product in f64, cut off.
TEST(Reap, FieldsAreLlmCompressorsAndSharesRoundDown) {
  const auto modifier = reap_of(R"({"sparsity": 0.29, "ignore": ["layers.0"], "report_path": "r.json"})");
  const auto& reap = dynamic_cast<const ExpertPruner&>(*modifier);
  EXPECT_EQ(reap.dropped(100), 28);  // 100 * 0.29 is 28.999999999999996
  EXPECT_EQ(reap.dropped(3), 0);
  EXPECT_EQ(reap.ignore(), std::vector<std::string>{"layers.0"});
  EXPECT_EQ(reap.report_path(), "r.json");
  EXPECT_TRUE(reap.needs_calibration());
  EXPECT_EQ(reap.scores({{6, 0}, {4, 0}}), (std::vector<double>{1.5, 0}));
  EXPECT_EQ(modifier->config().dump(),
            parse_json(R"({"sparsity": 0.29, "ignore": ["layers.0"], "report_path": "r.json"})", "").dump());
}

TEST(Reap, ValuesThatMakeNoSenseAreRefused) {
  expect_refused("{}", "sparsity: expected the share of the experts");
  expect_refused(R"({"sparsity": 0})", "sparsity 0: expected a share between 0 and 1");
  expect_refused(R"({"sparsity": 1})", "between 0 and 1");
  expect_refused(R"({"sparsity": -0.5})", "between 0 and 1");
  expect_refused(R"({"sparsity": 0.5, "report_path": "report.txt"})",
                 "report_path report.txt: expected a name that ends in .json");
  expect_refused(R"({"sparsity": 0.5, "report_pth": "report.json"})", "report_path");
}

void expect_order(const std::vector<const char*>& names, std::optional<ErrorKind> refused, const char* part) {
  std::vector<std::unique_ptr<Modifier>> modifiers;
  for (const char* name : names) {
    Json fields = Json::object();
    if (std::string_view(name) == "reap") fields.set("sparsity", 0.5);
    if (std::string_view(name) == "rtn") fields.set("scheme", "W4A16");
    modifiers.push_back(make_modifier(name, fields, "test"));
  }
  try {
    const Chain chain = make_chain(modifiers);
    EXPECT_FALSE(refused.has_value()) << part;
    const size_t place = chain.rotator != nullptr ? 1 : 0;
    EXPECT_EQ(chain.expert_pruner, modifiers[place].get());
    EXPECT_EQ(chain.calibrating(), modifiers[place].get());
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), refused) << e.what();
    EXPECT_THAT(e.what(), HasSubstr(part));
  }
}

TEST(Reap, StandsFirstAndMayStandAlone) {
  expect_order({"reap"}, {}, "");
  expect_order({"reap", "rtn"}, {}, "");
  expect_order({"reap", "awq", "rtn"}, {}, "");
  expect_order({"rtn", "reap"}, ErrorKind::InvalidArgument, "put it first");
  expect_order({"reap", "reap"}, ErrorKind::InvalidArgument, "experts go once");
  expect_order({"spinquant", "reap", "rtn"}, {}, "");
  expect_order({"reap", "spinquant", "rtn"}, ErrorKind::InvalidArgument, "weights are rotated once, before anything");
}

}  // namespace
}  // namespace swage::modifiers
