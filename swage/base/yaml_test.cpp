#include "swage/base/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage {
namespace {

TEST(Yaml, ReadsARecipe) {
  const Json value = parse_yaml(
      "default_stage:\n  default_modifiers:\n    GPTQModifier:\n      targets: [Linear]\n"
      "      ignore: [\"re:.*lm_head\", 'x: y']\n      dampening_frac: 1e-2\n      block_size: 128\n      offload: "
      "false\n      kv: null\n",
      "recipe.yaml");
  EXPECT_EQ(
      value.dump(),
      R"({"default_stage":{"default_modifiers":{"GPTQModifier":{"targets":["Linear"],"ignore":["re:.*lm_head","x: y"],)"
      R"("dampening_frac":0.01,"block_size":128,"offload":false,"kv":null}}}})");
}

TEST(Yaml, QuotedScalarsStayStrings) {
  EXPECT_EQ(parse_yaml("a: \"1\"\nb: 'true'\nc: 1", "t").dump(), R"({"a":"1","b":"true","c":1})");
}

TEST(Yaml, RoundTripsWhatJsonCanSay) {
  const Json value = parse_json(
      R"({"a":[1,-2.5,"1","true","x: y","re:.*a$","- b",""," c","#d",null,[],{}],"b":{"c":[[1,2],{"d":1,"e":[3]}]},"f":"line\nbreak","1":2})",
      "t");
  EXPECT_EQ(parse_yaml(dump_yaml(value), "again").dump(), value.dump()) << dump_yaml(value);
}

std::string error_of(const std::string& text) {
  try {
    parse_yaml(text, "bad.yaml");
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::CorruptData) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "parsed: " << text;
  return "";
}

TEST(Yaml, BadTextIsCorruptData) {
  EXPECT_THAT(error_of("a: [1"), testing::StartsWith("bad.yaml: not valid YAML at line "));
  EXPECT_THAT(error_of("a: \"x"), testing::StartsWith("bad.yaml: not valid YAML at line "));
  EXPECT_THAT(error_of("\t- a: b: c"), testing::StartsWith("bad.yaml: not valid YAML at line "));
  EXPECT_EQ(error_of("a: {\"b\xFF\": 1}"), "bad.yaml: not UTF-8 at byte 6");
  EXPECT_EQ(error_of(std::string("a: [b\0c]", 9)),
            "bad.yaml: a control character at byte 5, which YAML has only as an escape between double quotes");
  EXPECT_EQ(error_of("a: 1\na: 2"), "bad.yaml: key \"a\" appears twice");
  EXPECT_EQ(error_of("a: 1\n---\nb: 2"),
            "bad.yaml: a second document begins on line 3 (behind ---), where one is expected");
  EXPECT_EQ(error_of("---\na: 1\n...\n- 2"),
            "bad.yaml: a second document begins on line 4 (behind ---), where one is expected");
  EXPECT_EQ(error_of("? [x]\n: 1"), "bad.yaml: a key on line 1 is not a plain word");
}

TEST(Yaml, NestingAndAliasesAreBounded) {
  EXPECT_EQ(error_of(std::string(200, '[') + std::string(200, ']')), "bad.yaml: nested deeper than 100 levels");
  std::string laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string p = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + p;
    for (int j = 0; j < 9; ++j) laughs += "," + p;
    laughs += "]\n";
  }
  EXPECT_EQ(error_of(laughs), "bad.yaml: more than 1000000 values");
}

TEST(Yaml, WordsThatMeanSomethingAtTheStartOfATextSurvive) {
  for (const char* word : {"...", "... a",
                           "\xEF\xBB\xBF"
                           "a",
                           "---", "--- a", "%YAML"}) {
    Json json;
    json.set(word, Json(word));
    EXPECT_EQ(parse_yaml(dump_yaml(json), "again"), json) << dump_yaml(json);
    EXPECT_EQ(parse_yaml(dump_yaml(Json(word)), "again"), Json(word)) << word;
  }
}

// Control characters would end a plain scalar, or the document.
TEST(Yaml, ControlCharactersSurvive) {
  const std::string word("a\0b\x1e:c\x7f", 7);
  Json json;
  json.set(word, Json(word));
  EXPECT_EQ(parse_yaml(dump_yaml(json), "again"), json) << dump_yaml(json);
}

// Readers look for the colon of a plain key in its first 1024 bytes; control characters take six each.
TEST(Yaml, LongKeysSurvive) {
  for (const std::string& key : {std::string(5000, 'k'), std::string(400, '\x01')}) {
    Json inner, json;
    inner.set(key, Json(1));
    json.set(key, inner);
    EXPECT_EQ(parse_yaml(dump_yaml(json), "again"), json);
  }
}

}  // namespace
}  // namespace swage
