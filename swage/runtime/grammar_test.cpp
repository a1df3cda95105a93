// Answers that have to follow a schema or a grammar do, whatever the model would rather say: it is random here.
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "swage/base/error.h"
#include "swage/runtime/tiny_model_test_support.h"

namespace swage::runtime {
namespace {

using testing::HasSubstr;

const data::Tokenizer& letters() {
  static const data::Tokenizer tokenizer(std::filesystem::path(SWAGE_TEST_DATA) / "data" / "tiny_bpe");
  return tokenizer;
}

const ModelRunner& talker() {
  static const TinyModel tiny = [] {
    at::set_num_threads(1);
    Json config = configs().at("llama31");
    config.set("vocab_size", 720);  // some of them no tokens
    config.set("max_position_embeddings", 1024);
    return TinyModel(config);
  }();
  return *tiny.runner;
}

Request asked_for(Grammar::Kind kind, const std::string& text, uint64_t seed) {
  Request out;
  out.prompt = letters().encode("the river", false);
  out.max_new_tokens = 700;
  out.sampling.temperature = seed == 0 ? 0 : 1.5;
  out.sampling.seed = seed;
  out.grammar = {kind, text};
  return out;
}

Answer answer_of(Grammar::Kind kind, const std::string& text, uint64_t seed) {
  return alone(talker(), asked_for(kind, text, seed), &letters()).at(0);
}

bool matches(const std::string& text, const std::string& pattern) {
  return std::regex_match(text, std::regex(pattern));
}

struct SchemaCase {
  std::string name, schema;
  std::function<bool(const Json&)> fits;
};

std::vector<SchemaCase> cases() {
  const auto is_text = [](const Json* value, size_t longest) {
    return value != nullptr && value->is_string() && value->as_string().size() <= 4 * longest;
  };
  return {
      {"object", R"({"type":"object","properties":{"name":{"type":"string","maxLength":6},"age":{"type":"integer",
          "minimum":0,"maximum":150},"ok":{"type":"boolean"},"none":{"type":"null"}},
          "required":["name","age","ok","none"],"additionalProperties":false})",
       [=](const Json& v) {
         return v.as_object().size() == 4 && is_text(v.find("name"), 6) && v.at("age").as_int() >= 0 &&
                v.at("age").as_int() <= 150 && v.at("ok").is_bool() && v.at("none").is_null();
       }},
      {"array", R"({"type":"array","items":{"type":"integer","minimum":-20,"maximum":20},"minItems":2,"maxItems":4})",
       [](const Json& v) {
         const Json::Array& items = v.as_array();
         return items.size() >= 2 && items.size() <= 4 && std::all_of(items.begin(), items.end(), [](const Json& one) {
                  return one.as_int() >= -20 && one.as_int() <= 20;
                });
       }},
      {"enum", R"({"enum":["red","green",3,null,{"a":[1]}]})",
       [](const Json& v) {
         return v.is_null() || (v.is_int() && v.as_int() == 3) || v.dump() == R"({"a":[1]})" ||
                (v.is_string() && (v.as_string() == "red" || v.as_string() == "green"));
       }},
      {"nested and $ref", R"({"type":"object","properties":{"tree":{"$ref":"#/$defs/node"}},"required":["tree"],
          "additionalProperties":false,"$defs":{"node":{"type":"object","properties":{"v":{"const":1},"next":
          {"anyOf":[{"type":"null"},{"$ref":"#/$defs/node"}]}},"required":["v","next"],"additionalProperties":false}}})",
       [](const Json& v) {
         const Json* at = v.find("tree");
         while (at != nullptr && at->is_object()) {
           if (at->as_object().size() != 2 || at->at("v").as_int() != 1) return false;
           at = at->find("next");
         }
         return at != nullptr && at->is_null();
       }},
      {"anyOf", R"({"anyOf":[{"type":"boolean"},{"type":"array","items":{"const":"x"},"maxItems":2}]})",
       [](const Json& v) { return v.is_bool() || (v.is_array() && v.as_array().size() <= 2); }},
      {"number", R"({"type":"number","minimum":-1.5,"maximum":2.25})",
       [](const Json& v) { return v.as_double() >= -1.5 && v.as_double() <= 2.25; }},
      {"date", R"({"type":"string","format":"date"})",
       [](const Json& v) { return matches(v.as_string(), R"(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))"); }},
      {"uuid", R"({"type":"string","format":"uuid"})",
       [](const Json& v) { return matches(v.as_string(), "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"); }},
      {"ipv4", R"({"type":"string","format":"ipv4"})",
       [](const Json& v) { return matches(v.as_string(), R"((\d{1,3}\.){3}\d{1,3})"); }},
      {"pattern", R"({"type":"string","pattern":"^[a-f]{2,4}-[0-9]+x$","maxLength":20})",
       [](const Json& v) { return matches(v.as_string(), "[a-f]{2,4}-[0-9]+x"); }},
  };
}

TEST(Grammar, AnswersParseAndFitTheirSchemas) {
  for (const SchemaCase& one : cases()) {
    int whole = 0;
    for (uint64_t seed = 0; seed < 6; ++seed) {
      const Answer answer = answer_of(Grammar::Kind::JsonSchema, one.schema, seed);
      ASSERT_NE(answer.finish, Finish::Failed) << one.name << ": " << answer.error;
      if (answer.finish == Finish::Length) continue;  // digits without an end
      EXPECT_EQ(answer.finish, Finish::End) << one.name;
      const Json value = parse_json(answer.text, one.name);
      EXPECT_TRUE(one.fits(value)) << one.name << ": " << answer.text;
      ++whole;
    }
    EXPECT_GE(whole, 4) << one.name;
  }
}

TEST(Grammar, RegularExpressionsAndGrammarsOfCharacters) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const Answer phone = answer_of(Grammar::Kind::Regex, R"(\+[1-9]\d{1,2}( \d{3}){2}|none)", seed);
    EXPECT_EQ(phone.finish, Finish::End);
    EXPECT_TRUE(matches(phone.text, R"(\+[1-9]\d{1,2}( \d{3}){2}|none)")) << phone.text;
    const Answer sum = answer_of(
        Grammar::Kind::Gbnf, "root ::= \"= \" term | term\nterm ::= [0-9]{1,2} | \"(\" term \" + \" term \")\"", seed);
    if (sum.finish == Finish::Length) continue;
    EXPECT_EQ(std::count(sum.text.begin(), sum.text.end(), '('), std::count(sum.text.begin(), sum.text.end(), ')'));
    EXPECT_TRUE(matches(sum.text, R"((= )?[()0-9 +]+)")) << sum.text;
  }
  const Answer lark = answer_of(Grammar::Kind::Lark, "start: \"yes\" | \"no\"", 0);
  EXPECT_TRUE(lark.text == "yes" || lark.text == "no") << lark.text;
  const Answer object = answer_of(Grammar::Kind::JsonObject, "", 3);
  EXPECT_EQ(object.text.front(), '{');
}

// Preempted, in pieces, with shared beginnings and others beside them.
TEST(Grammar, AnswersEqualThoseAlone) {
  EngineOptions options;
  options.schedule = {12, 4};
  Engine engine(talker(), &letters(), plan_of(talker(), 6), options);
  std::vector<Request> requests;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    requests.push_back(asked_for(Grammar::Kind::Regex, "([a-z]{3} ){4,9}", seed));
    requests.back().choices = 1 + int64_t(seed % 2);
  }
  std::vector<Answers> answers(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) engine.submit(requests[i], into(answers[i]));
  while (engine.step()) {
  }
  EXPECT_GT(engine.stats().preemptions, 0u);
  for (size_t i = 0; i < requests.size(); ++i) {
    const Answers expected = alone(talker(), requests[i], &letters());
    for (const auto& [choice, answer] : expected) {
      EXPECT_EQ(answers[i].at(choice).text, answer.text);
      EXPECT_EQ(answers[i].at(choice).finish, Finish::End) << answers[i].at(choice).error;
      EXPECT_TRUE(matches(answer.text, "([a-z]{3} ){4,9}")) << answer.text;
    }
  }
}

TEST(Grammar, WhatEndsAnswersGivesWayToIt) {
  Request request = asked_for(Grammar::Kind::Regex, "(ab){2,5}", 0);
  request.min_new_tokens = 100;
  request.ignore_end = true;
  const Answer whole = alone(talker(), request, &letters()).at(0);
  EXPECT_EQ(whole.finish, Finish::End);
  EXPECT_EQ(whole.text, "ababababab");
  request.max_new_tokens = 2;
  EXPECT_EQ(alone(talker(), request, &letters()).at(0).finish, Finish::Length);
  request.max_new_tokens = 50;
  request.stops = {"bab"};
  EXPECT_EQ(alone(talker(), request, &letters()).at(0).text, "a");
}

TEST(Grammar, WrongOnesAreRefusedBeforeTheyWait) {
  Engine engine(talker(), &letters(), plan_of(talker(), 9), {});
  const auto refused = [&](Grammar::Kind kind, const std::string& text, const std::string& message) {
    try {
      engine.submit(asked_for(kind, text, 0), {});
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
      EXPECT_THAT(e.what(), HasSubstr(message));
    }
  };
  refused(Grammar::Kind::JsonSchema, "{", "json_schema: EOF");
  refused(Grammar::Kind::JsonSchema, R"({"type":"object","unevaluatedProperties":false})", "unevaluatedProperties");
  refused(Grammar::Kind::Regex, "(", "regex: ");
  refused(Grammar::Kind::Regex, "\xff", "not UTF-8");
  refused(Grammar::Kind::Gbnf, "root = 1", "gbnf: line 1");
  EXPECT_EQ(engine.stats().waiting, 0);
  Engine silent(talker(), nullptr, plan_of(talker(), 9), {});
  EXPECT_THROW(silent.submit(asked_for(Grammar::Kind::Regex, "a", 0), {}), Error);
}

}  // namespace
}  // namespace swage::runtime
