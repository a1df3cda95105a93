#include "swage/data/tokenizer.h"

#include <gmock/gmock.h>

#include <iostream>

#include "swage/data/data_test_support.h"

namespace swage::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Tokenizer, IdsEqualThoseOfHuggingFace) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  const Json oracle = read_json(test_data() / "tiny_bpe_oracle.json");
  EXPECT_EQ(tokenizer.vocabulary_size(), oracle.at("vocabulary").as_int());
  for (const Json& entry : oracle.at("cases").as_array()) {
    const std::string& text = entry.at("text").as_string();
    const std::vector<int64_t> ids = as_ids(entry.at("ids"));
    EXPECT_EQ(tokenizer.encode(text, true), ids) << text;
    EXPECT_EQ(tokenizer.encode(text, false), as_ids(entry.at("plain"))) << text;
    EXPECT_EQ(tokenizer.decode(ids, true), entry.at("decoded").as_string());
    EXPECT_EQ(tokenizer.decode(ids, false), entry.at("decoded_all").as_string());
  }
}

// The file of the tiny tokenizer asks for truncation to 64 tokens and padding to 8: neither may happen.
TEST(Tokenizer, StoredTruncationAndPaddingAreIgnored) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  EXPECT_GT(tokenizer.encode(std::string(1000, '7'), true).size(), 1000u);
  EXPECT_EQ(tokenizer.encode("a", true).size(), 2u);
}

TEST(Tokenizer, BatchesKeepTheOrder) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  std::vector<std::string> texts;
  for (int i = 0; i < 100; ++i)
    texts.push_back(i % 7 == 0 ? std::string() : cat("text ", i, std::string(size_t(i), 'x')));
  const auto batch = tokenizer.encode_batch(texts, true);
  ASSERT_EQ(batch.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(batch[i], tokenizer.encode(texts[i], true));
  EXPECT_TRUE(tokenizer.encode_batch({}, true).empty());
}

TEST(Tokenizer, KnowsPrefixAndEnds) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  EXPECT_THAT(tokenizer.prefix_ids(), ElementsAre(0));
  EXPECT_THAT(tokenizer.end_ids(), ElementsAre(1, 3));  // generation_config.json wins over config.json's 2
}

TEST(Tokenizer, StreamedPiecesAddUpAndKeepCharactersWhole) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  const Json oracle = read_json(test_data() / "tiny_bpe_oracle.json");
  for (const Json& entry : oracle.at("cases").as_array()) {
    TextStream stream(tokenizer);
    std::string text;
    for (const int64_t id : as_ids(entry.at("ids"))) {
      const std::string piece = stream.push(id);
      EXPECT_THAT(piece, testing::Not(HasSubstr("\xEF\xBF\xBD")));
      text += piece;
    }
    EXPECT_EQ(text + stream.finish(), entry.at("decoded").as_string());
  }
}

TEST(Tokenizer, AnIncompleteCharacterAppearsAtTheEnd) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  std::vector<int64_t> ids = tokenizer.encode("\xF0\x9F\x98\x80", false);
  ids.pop_back();
  TextStream stream(tokenizer);
  for (const int64_t id : ids) EXPECT_EQ(stream.push(id), "");
  EXPECT_EQ(stream.finish(), tokenizer.decode(ids, true));
}

TEST(Tokenizer, TextMustBeUtf8) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  const Error error = error_of([&] { tokenizer.encode("ab\xFF", true); });
  EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
  EXPECT_THAT(error.what(), HasSubstr("byte 2"));
  EXPECT_THAT(error_of([&] { tokenizer.encode_batch({"fine", "\xC0\x80"}, true); }).what(), HasSubstr("text 1"));
}

TEST(Tokenizer, NegativeIdsAreRefusedAndUnknownOnesSilent) {
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  EXPECT_EQ(error_of([&] { tokenizer.decode({-1}, true); }).kind(), ErrorKind::InvalidArgument);
  EXPECT_EQ(tokenizer.decode({4'000'000'000}, true), "");
}

TEST(Tokenizer, AMissingFileIsNamed) {
  const TemporaryFolder folder;
  const Error error = error_of([&] { Tokenizer tokenizer(folder.path()); });
  EXPECT_EQ(error.kind(), ErrorKind::Io);
  EXPECT_THAT(error.what(), HasSubstr("tokenizer.json"));
}

TEST(Tokenizer, BrokenFilesAreCorrupt) {
  const std::string good = read_text(test_data() / "tiny_bpe" / "tokenizer.json");
  for (const std::string& bad :
       {std::string(), std::string("{}"), good.substr(0, good.size() / 2), std::string("\xFF\xFE"),
        std::string(100'000, '['), std::string("{\"model\":{\"type\":\"BPE\",\"vocab\":7}}")}) {
    const TemporaryFolder folder;
    folder.write("tokenizer.json", bad);
    const Error error = error_of([&] { Tokenizer tokenizer(folder.path()); });
    EXPECT_EQ(error.kind(), ErrorKind::CorruptData);
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.json"));
  }
}

TEST(Tokenizer, BrokenConfigsAreCorrupt) {
  const std::string good = read_text(test_data() / "tiny_bpe" / "tokenizer.json");
  const std::array<const char*, 3> cases[] = {
      {"tokenizer_config.json", "{", "not valid JSON"},
      {"generation_config.json", "{\"eos_token_id\":\"x\"}", ": eos_token_id must be an integer or a list of them"},
      {"generation_config.json", "{\"eos_token_id\":[1,\"x\"]}", ": eos_token_id must be an integer or a list of them"},
  };
  for (const auto& [name, text, message] : cases) {
    const TemporaryFolder folder;
    folder.write("tokenizer.json", good);
    folder.write(name, text);
    const Error error = error_of([&] { Tokenizer tokenizer(folder.path()); });
    EXPECT_EQ(error.kind(), ErrorKind::CorruptData);
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr(name), HasSubstr(message)));
  }
}

TEST(Tokenizer, ChatTemplateComesFromTheConfigOrItsOwnFile) {
  const Json chat = parse_json(R"([{"role":"user","content":"hi"}])", "chat");
  const Tokenizer tokenizer(test_data() / "tiny_bpe");
  ASSERT_TRUE(tokenizer.has_chat_template());
  EXPECT_EQ(tokenizer.apply_chat_template(chat, true), "<s><|user|>hi</s><|assistant|>");

  const TemporaryFolder folder;
  folder.write("tokenizer.json", read_text(test_data() / "tiny_bpe" / "tokenizer.json"));
  EXPECT_FALSE(Tokenizer(folder.path()).has_chat_template());
  EXPECT_EQ(error_of([&] { Tokenizer(folder.path()).apply_chat_template(chat, true); }).kind(),
            ErrorKind::InvalidArgument);
  folder.write("tokenizer_config.json",
               R"({"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}]})");
  EXPECT_EQ(Tokenizer(folder.path()).apply_chat_template(chat, true), "d");
  folder.write("chat_template.json", R"({"chat_template":"j"})");
  EXPECT_EQ(Tokenizer(folder.path()).apply_chat_template(chat, true), "j");
  folder.write("chat_template.jinja", "own {{ messages | length }}");
  EXPECT_EQ(Tokenizer(folder.path()).apply_chat_template(chat, true), "own 1");
  // A template that cannot be read matters only to those who use it.
  folder.write("chat_template.jinja", "{% if %}");
  const Error error = error_of([&] { Tokenizer(folder.path()).apply_chat_template(chat, true); });
  EXPECT_EQ(error.kind(), ErrorKind::CorruptData);
  EXPECT_THAT(error.what(), HasSubstr("chat_template.jinja"));
}

void expect_same_ids(const Tokenizer& tokenizer, const std::filesystem::path& file, const Json& shas) {
  std::vector<std::string> texts;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    texts.push_back(parse_json(line, file.string()).at("text").as_string());
  const auto batch = tokenizer.encode_batch(texts, true);
  ASSERT_EQ(batch.size(), shas.as_array().size());
  for (size_t i = 0; i < batch.size(); ++i)
    EXPECT_EQ(sha_of_ids(batch[i]), shas.as_array()[i].as_string()) << file << " " << i;
}

TEST(Tokenizer, DocumentsEqualThoseOfHuggingFace) {
  const Json oracle = read_json(test_data() / "tiny_bpe_oracle.json");
  expect_same_ids(Tokenizer(test_data() / "tiny_bpe"), test_data() / "calib_small.jsonl", oracle.at("documents"));
}

TEST(Tokenizer, SmolLm2EqualsHuggingFaceOnTheFullData) {
  if (!full_data() || !test_model())
    GTEST_SKIP()
        << "needs ../shared/data, too large for the clone, and in SWAGE_TEST_MODEL the folder of SmolLM2-135M-Instruct";
  std::cout << "full set: SmolLM2 token ids of calib.jsonl and heldout.jsonl" << std::endl;
  const Tokenizer tokenizer(*test_model());
  const Json oracle = read_json(test_data() / "smollm2_oracle.json");
  for (const Json& entry : oracle.at("cases").as_array()) {
    EXPECT_EQ(tokenizer.encode(entry.at("text").as_string(), true), as_ids(entry.at("ids")));
  }
  expect_same_ids(tokenizer, *full_data() / "calib.jsonl", oracle.at("calib"));
  expect_same_ids(tokenizer, *full_data() / "heldout.jsonl", oracle.at("heldout"));
  EXPECT_TRUE(tokenizer.prefix_ids().empty());
  EXPECT_THAT(tokenizer.end_ids(), ElementsAre(2));
}

// What a tokenizer.json asks for is a program of somebody else's: it may not take the machine with it.
TEST(Tokenizer, NormalizersThatDoubleATextAreStopped) {
  const TemporaryFolder folder;
  Json json = read_json(test_data() / "tiny_bpe/tokenizer.json");
  const Json rule = parse_json(R"({"type":"Replace","pattern":{"String":"a"},"content":"aa"})", "rule");
  Json normalizer = parse_json(R"({"type":"Sequence"})", "normalizer");
  normalizer.set("normalizers", Json(Json::Array(34, rule)));
  json.set("normalizer", std::move(normalizer));
  folder.write("tokenizer.json", json.dump());
  const Tokenizer tokenizer(folder.path());
  const Error error = error_of([&] { tokenizer.encode("a banana", true); });
  EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
  EXPECT_THAT(error.what(), testing::ContainsRegex(
                                "tokenizing a text of 8 bytes (needs more than 768 MiB|takes longer than 4 seconds)"));
}

}  // namespace
}  // namespace swage::data
