#include "apps/server/tool_calls.h"

#include <gtest/gtest.h>

namespace swage::server {
namespace {

// What comes of a text, whatever pieces it arrives in; the same for pieces of 1, 2, ... bytes and for all at once.
ToolCallReader::News read_in_any_pieces(const std::string& text) {
  std::vector<ToolCallReader::News> found;
  for (size_t size = 1; size <= text.size(); ++size) {
    ToolCallReader reader({"get_weather", "add"});
    ToolCallReader::News all;
    const auto take = [&](const ToolCallReader::News& news) {
      all.content += news.content;
      all.calls.insert(all.calls.end(), news.calls.begin(), news.calls.end());
    };
    for (size_t at = 0; at < text.size(); at += size) take(reader.push(text.substr(at, size)));
    take(reader.finish());
    found.push_back(all);
    EXPECT_EQ(all.content, found[0].content) << "pieces of " << size;
    EXPECT_EQ(all.calls.size(), found[0].calls.size()) << "pieces of " << size;
  }
  return found[0];
}

TEST(ToolCalls, AreReadInEveryForm) {
  for (const char* text : {
           R"(<tool_call>
{"name": "get_weather", "arguments": {"city": "Paris"}}
</tool_call>)",
           R"(<tool_call><function=get_weather><parameter=city>
Paris
</parameter></function></tool_call>)",
           R"([TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris"}}])",
           R"({"name": "get_weather", "parameters": {"city": "Paris"}})",
           R"(<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}})",
       }) {
    const ToolCallReader::News news = read_in_any_pieces(text);
    ASSERT_EQ(news.calls.size(), 1u) << text;
    EXPECT_EQ(news.calls[0].name, "get_weather");
    EXPECT_EQ(news.calls[0].arguments, R"({"city":"Paris"})") << text;
    EXPECT_EQ(news.content.find_first_not_of(" \n"), std::string::npos) << news.content;
  }
}

TEST(ToolCalls, StandBesideTextAndOneAnother) {
  const ToolCallReader::News news = read_in_any_pieces(
      "Let me see. <tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>\n"
      "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 2}}</tool_call>");
  ASSERT_EQ(news.calls.size(), 2u);
  EXPECT_EQ(news.calls[1].arguments, R"({"a":2})");
  EXPECT_EQ(news.content, "Let me see.");
}

TEST(ToolCalls, WhatIsNoneIsContentToTheLastByte) {
  for (const char* text :
       {"plain text", "a < b <tool", "[1, 2, 3]", "{\"name\": \"other\"}", "<tool_call>broken</tool_call>",
        "<tool_call>{\"name\": \"other\"}</tool_call> and", "<tool_call>unfinished", "[TOOL_CALLS] no", "[", "{"}) {
    const ToolCallReader::News news = read_in_any_pieces(text);
    EXPECT_TRUE(news.calls.empty()) << text;
    EXPECT_EQ(news.content, text);
  }
}

}  // namespace
}  // namespace swage::server
