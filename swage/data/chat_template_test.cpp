#include "swage/data/chat_template.h"

#include <gmock/gmock.h>

#include <map>

#include "swage/data/data_test_support.h"

namespace swage::data {
namespace {

using testing::HasSubstr;

Json variables() { return parse_json(R"({"bos_token":"<s>","eos_token":"</s>"})", "variables"); }

std::string render(const std::string& source, const std::string& messages = R"([{"role":"user","content":"hi"}])") {
  return ChatTemplate(source, "test.jinja").render(parse_json(messages, "messages"), variables(), {});
}

TEST(ChatTemplate, RendersAsTransformersDoes) {
  std::vector<Json> chats;
  std::ifstream in(test_data() / "chats.jsonl");
  for (std::string line; std::getline(in, line);) chats.push_back(parse_json(line, "chats.jsonl").at("messages"));
  size_t compared = 0;
  const Json oracle = read_json(test_data() / "templates_oracle.json");
  for (const Json& entry : oracle.at("cases").as_array()) {
    const std::string name = entry.at("template").as_string() + ".jinja";
    const ChatTemplate chat_template(read_text(test_data() / "templates" / name), name);
    const Json& chat = chats.at(size_t(entry.at("chat").as_int()));
    const ChatOptions options{.add_generation_prompt = entry.at("prompt").as_bool()};
    if (const Json* refusal = entry.find("error")) {
      const Error error = error_of([&] { chat_template.render(chat, variables(), options); });
      EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
      EXPECT_THAT(error.what(), HasSubstr(refusal->as_string()));
    } else {
      EXPECT_EQ(chat_template.render(chat, variables(), options), entry.at("text").as_string()) << name;
    }
    ++compared;
  }
  EXPECT_EQ(compared, 48u);
}

TEST(ChatTemplate, TheDateIsFixedUnlessGiven) {
  const ChatTemplate chat_template("{{ strftime_now('%Y-%m-%d %H:%M') }}", "test.jinja");
  EXPECT_EQ(chat_template.render(Json::array(), Json::object(), {}), "2024-07-26 00:00");
  EXPECT_EQ(chat_template.render(Json::array(), Json::object(), {.now_seconds = 1'000'000'000}), "2001-09-09 01:46");
}

TEST(ChatTemplate, SyntaxErrorsNameFileAndLine) {
  const Error error = error_of([] { render("line one\n{% for x in %}"); });
  EXPECT_EQ(error.kind(), ErrorKind::CorruptData);
  EXPECT_THAT(error.what(), HasSubstr("test.jinja"));
  EXPECT_THAT(error.what(), HasSubstr("line 2"));
}

TEST(ChatTemplate, ATagThatEndsInItsOwnBeginningIsASyntaxError) {
  EXPECT_EQ(error_of([] { render("a{%}b"); }).kind(), ErrorKind::CorruptData);
}

TEST(ChatTemplate, SourceMustBeUtf8) {
  const Error error = error_of([] { render("\xFF"); });
  EXPECT_EQ(error.kind(), ErrorKind::CorruptData);
  EXPECT_THAT(error.what(), HasSubstr("chat template is not UTF-8"));
}

TEST(ChatTemplate, MessagesMustBeAnArray) {
  EXPECT_EQ(error_of([] { render("x", "{}"); }).kind(), ErrorKind::InvalidArgument);
}

// Work, recursion and output of a hostile template are bounded: an error, not a hang or a crash.
TEST(ChatTemplate, HostileTemplatesRunIntoLimits) {
  const std::string loops =
      "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor "
      "%}";
  EXPECT_THAT(error_of([&] { render(loops); }).what(), HasSubstr("too many steps"));
  EXPECT_EQ(error_of([] { render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"); }).kind(),
            ErrorKind::InvalidArgument);
  EXPECT_THAT(error_of([] { render("{% for a in range(99) %}{{ 'x' * 9999999 }}{% endfor %}"); }).what(),
              HasSubstr("more than 32 MiB"));
  EXPECT_EQ(error_of([] { render("{{ 'x' * 99999999999 }}"); }).kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { render("{{ " + std::string(100'000, '(') + " }}"); }).kind(), ErrorKind::CorruptData);
}

// One instruction can multiply what there is; memory is counted all the same, and its end is an error like any other.
TEST(ChatTemplate, AllocatesWithinBounds) {
  const std::string start = "{% set ns = namespace(x='ab') %}{% for i in range(999) %}", end = "{% endfor %}";
  EXPECT_THAT(error_of([&] { render(start + "{% set ns.x = ns.x ~ ns.x %}" + end); }).what(),
              HasSubstr("a text of more than 32 MiB"));
  EXPECT_THAT(error_of([&] { render(start + "{% set ns.x = [ns.x, 'x' * 9999999, ns.x] | join %}" + end); }).what(),
              HasSubstr("a text of more than 32 MiB"));
  EXPECT_THAT(error_of([&] {
                render(
                    "{% set ns = namespace(l=[]) %}{% for i in range(999) %}{% set ns.l = ns.l + ['x' * 9999999] %}{% "
                    "endfor %}");
              }).what(),
              HasSubstr("needs more than 512 MiB"));
  EXPECT_THAT(
      error_of([&] { render(start + "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}" + end); }).what(),
      HasSubstr("a text of more than 32 MiB"));
  EXPECT_EQ(error_of([&] { render("{{ ([1] * 999999999) | list | length }}"); }).kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(render("{{ messages[0].content }}"), "hi");  // what was stopped does not stand in the way
}

// Chains and brackets lie in each other; whoever walks them needs a stack as deep.
TEST(ChatTemplate, DepthIsBounded) {
  for (const std::string link : {".b", "|e", "[0]", "()", "+1", " or a", " if a"}) {
    std::string source = "{{ a";
    for (int i = 0; i < 500'000; ++i) source += link;
    const Error error = error_of([&] { render(source + " }}"); });
    EXPECT_EQ(error.kind(), ErrorKind::CorruptData);
    EXPECT_THAT(error.what(), HasSubstr("an expression of more than 500 links")) << link;
  }
}

TEST(ChatTemplate, NoneIsNotIterable) {
  EXPECT_EQ(render("{% if tools is iterable and tools | length > 0 %}T{% endif %}{{ messages is iterable }}"), "True");
}

// As transformers does before it renders: null members go, reasoning stands under both names.
TEST(ChatTemplate, MessagesAreReadAsTransformersReadsThem) {
  EXPECT_EQ(render("{{ messages }}", R"([{"role":"assistant","content":null,"reasoning":"hm"}])"),
            "[{'thinking': 'hm', 'role': 'assistant', 'reasoning': 'hm', 'reasoning_content': 'hm'}]");
}

// What cannot be made equal to Jinja2 is an error that names the expression.
TEST(ChatTemplate, WhatIsNotSupportedIsNamed) {
  EXPECT_THAT(error_of([] { render("{{ 'a'.encode() }}"); }).what(),
              HasSubstr("line 1: str.encode is not supported in {{ 'a'.encode() }}"));
  EXPECT_THAT(error_of([] { render("{{ messages | map('string') }}"); }).what(),
              HasSubstr("whose text is an address in Python"));
}

// There is no loader: a template has no way to a file.
TEST(ChatTemplate, CannotReadFiles) {
  const TemporaryFolder folder;
  const std::string file = folder.write("secret.jinja", "secret").string();
  for (const std::string& tag : {"include '" + file + "'", "import '" + file + "' as x", "extends '" + file + "'",
                                 "from '" + file + "' import x"}) {
    const Error error = error_of([&] { render("{% " + tag + " %}"); });
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument) << tag;
    EXPECT_THAT(error.what(), HasSubstr("another template")) << tag;
  }
  EXPECT_EQ(error_of([&] { render("{{ open('" + file + "').read() }}"); }).kind(), ErrorKind::InvalidArgument);
}

}  // namespace
}  // namespace swage::data
