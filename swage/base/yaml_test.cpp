#include "swage/base/yaml.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage {
namespace {

TEST(Yaml, ReadsARecipe) {
  const Json value = parse_yaml(
      "default_stage:\n  default_modifiers:\n    GPTQModifier:\n      targets: [Linear]\n"
      "      ignore: [\"re:.*lm_head\", 'x: y']\n      dampening_frac: 1e-2\n      block_size: 128\n      offload: false\n      kv: null\n",
      "recipe.yaml");
  EXPECT_EQ(value.dump(),
            R"({"default_stage":{"default_modifiers":{"GPTQModifier":{"targets":["Linear"],"ignore":["re:.*lm_head","x: y"],)"
            R"("dampening_frac":0.01,"block_size":128,"offload":false,"kv":null}}}})");
}

TEST(Yaml, QuotedScalarsStayStrings) {
  EXPECT_EQ(parse_yaml("a: \"1\"\nb: 'true'\nc: 1", "t").dump(), R"({"a":"1","b":"true","c":1})");
}

TEST(Yaml, RoundTripsWhatJsonCanSay) {
  const Json value = parse_json(
      R"({"a":[1,-2.5,"1","true","x: y","re:.*a$","- b",""," c","#d",null,[],{}],"b":{"c":[[1,2],{"d":1,"e":[3]}]},"f":"line\nbreak","1":2})", "t");
  EXPECT_EQ(parse_yaml(dump_yaml(value), "again").dump(), value.dump()) << dump_yaml(value);
}

TEST(Yaml, BadTextIsCorruptData) {
  for (const char* bad : {"a: [1", "a: 1\na: 2", "? [x]\n: 1", "a: \"x", "\t- a: b: c"}) {
    try {
      parse_yaml(bad, "bad.yaml");
      ADD_FAILURE() << bad;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::CorruptData);
      EXPECT_NE(std::string(e.what()).find("bad.yaml"), std::string::npos);
    }
  }
}

TEST(Yaml, NestingAndAliasesAreBounded) {
  EXPECT_THROW(parse_yaml(std::string(200, '[') + std::string(200, ']'), "t"), Error);
  std::string laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string p = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + p;
    for (int j = 0; j < 9; ++j) laughs += "," + p;
    laughs += "]\n";
  }
  EXPECT_THROW(parse_yaml(laughs, "t"), Error);
}

}  // namespace
}  // namespace swage
