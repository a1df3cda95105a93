// Chat templates of published models against what transformers renders (bench/chat_templates/oracle.py).
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "swage/data/chat_template.h"
#include "swage/data/data_test_support.h"

namespace swage::data {
namespace {

struct Count {
  int templates = 0, equal = 0, refused_by_both = 0;
};

// The digest of a conversation's text, or null where the template refuses it.
Json digest_of(const ChatTemplate& chat_template, const Json& conversation, bool prompt) {
  Json variables =
      parse_json(R"({"bos_token":"<s>","eos_token":"</s>","unk_token":"<unk>","pad_token":"<pad>"})", "variables");
  variables.set("tools", conversation.at("tools"));
  try {
    return Json(
        sha_of_text(chat_template.render(conversation.at("messages"), variables, {.add_generation_prompt = prompt})));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    return {};
  }
}

void compare(const std::filesystem::path& file, const Json& expected, const Json& conversations, Count& count) {
  const ChatTemplate chat_template(read_text(file), file.filename().string());
  ++count.templates;
  for (size_t i = 0; i < expected.as_array().size(); ++i) {
    const Json& conversation = conversations.as_array()[i / 2];
    const Json& wanted = expected.as_array()[i];
    EXPECT_EQ(digest_of(chat_template, conversation, i % 2 == 1).dump(), wanted.dump())
        << file << ", conversation " << conversation.at("name").as_string() << (i % 2 == 1 ? " with" : " without")
        << " generation prompt";
    ++(wanted.is_null() ? count.refused_by_both : count.equal);
  }
}

// SWAGE_CHAT_TEMPLATES names a folder with all 70; those whose licence allows it lie in the tree.
TEST(ChatCorpus, PublishedTemplatesRenderAsInTransformers) {
  const std::filesystem::path folder = test_data() / "jinja";
  const char* all = std::getenv("SWAGE_CHAT_TEMPLATES");
  const std::filesystem::path templates = all == nullptr ? folder / "templates" : std::filesystem::path(all);
  const Json conversations = read_json(folder / "conversations.json");
  ASSERT_EQ(conversations.as_array().size(), 6u);
  Count count;
  std::ifstream in(folder / "templates_oracle.jsonl");
  for (std::string line; std::getline(in, line);) {
    const Json row = parse_json(line, "templates_oracle.jsonl");
    const std::filesystem::path file = templates / row.at("template").as_string();
    ASSERT_EQ(row.at("results").as_array().size(), 12u);
    if (std::filesystem::exists(file)) compare(file, row.at("results"), conversations, count);
  }
  EXPECT_EQ(count.templates, all == nullptr ? 16 : 70);
  std::cout << count.templates << " templates: " << count.equal << " texts equal, " << count.refused_by_both
            << " refused here and there\n";
}

}  // namespace
}  // namespace swage::data
