#include "swage/base/json_respell.h"

#include <gtest/gtest.h>

namespace swage {
namespace {

// `text` with the member `key` set.
std::string with(const std::string& text, std::string_view key, Json value) {
  Json now = parse_json(text, "text");
  now.set(key, std::move(value));
  return respelled(text, now);
}

TEST(JsonRespell, WhatStaysKeepsItsSpelling) {
  const std::string text =
      R"({"a": "caf\u00e9 \/ {\"x\": [", "z": -0, "f": 1E5, "\u006e": [1,  -0.0, {"k": "\u0041"}], "e": {}})";
  EXPECT_EQ(with(text, "q", 1), R"({
  "a": "caf\u00e9 \/ {\"x\": [",
  "z": -0,
  "f": 1E5,
  "\u006e": [1,  -0.0, {"k": "\u0041"}],
  "e": {},
  "q": 1
})");
  EXPECT_NE(with(text, "z", -1).find("\"z\": -1,\n"), std::string::npos);
}

TEST(JsonRespell, AnEqualValueIsTheTextItself) {
  for (const char* text : {"{\"a\" :1 }", "{}", "[1, 2]", "\"\\u0041\"", "-0"})
    EXPECT_EQ(respelled(std::string(" ") + text + "\n", parse_json(text, "text")), text);
}

TEST(JsonRespell, MembersOfMembersToo) {
  const std::string text = "{\"t\": {\"a\": \"\\/\", \"b\": [1]}, \"u\": {\"a\": \"\\/\"}}";
  Json inner = Json::object();
  inner.set("a", "/");
  inner.set("b", Json(Json::Array{Json(2), Json("x")}));
  EXPECT_EQ(with(text, "t", inner),
            "{\n  \"t\": {\n    \"a\": \"\\/\",\n    \"b\": [\n      2,\n      \"x\"\n    ]\n  },\n  \"u\": {\"a\": "
            "\"\\/\"}\n}");
  EXPECT_EQ(with(text, "t", Json::object()), "{\n  \"t\": {},\n  \"u\": {\"a\": \"\\/\"}\n}");
}

TEST(JsonRespell, DoubledKeysAndDamagedTexts) {
  const std::string doubled = R"({"a": "\u0031", "b": 1, "a": "\u0032"})";
  Json now = parse_json(doubled, "text");
  now.set("b", 2);
  EXPECT_EQ(parse_json(respelled(doubled, now), "text"), now);
  EXPECT_NE(respelled(doubled, now).find("\"\\u0032\""), std::string::npos);
  EXPECT_EQ(respelled("{\"a\": ", now), now.dump(2));
}

// Without spellings of its own a text comes out as dump(2) makes it.
TEST(JsonRespell, APlainTextIsWrittenAsBefore) {
  Json config = parse_json(R"({"a": 1, "b": [1, 2, {"c": null}], "d": {"e": "f"}})", "config");
  const std::string text = config.dump(2) + "\n";
  config.set("d", Json(Json::Array{}));
  config.set("g", parse_json(R"({"h": {"i": [1]}})", "g"));
  EXPECT_EQ(respelled(text, config), config.dump(2));
}

}  // namespace
}  // namespace swage
