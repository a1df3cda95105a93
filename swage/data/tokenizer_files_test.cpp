// Tokenizers that come as other files than tokenizer.json, or with tokens beside it, against transformers
// (bench/chat_templates/tokenizer_oracle.py).
#include "swage/data/tokenizer_files.h"

#include <gmock/gmock.h>

#include "swage/data/data_test_support.h"
#include "swage/data/tokenizer.h"

namespace swage::data {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(TokenizerFiles, IdsEqualThoseOfTransformers) {
  const Json oracle = read_json(test_data() / "tokenizers_oracle.json");
  size_t compared = 0;
  for (const auto& [name, expected] : oracle.at("tokenizers").as_object()) {
    const Tokenizer tokenizer(test_data() / "tokenizers" / name);
    for (size_t i = 0; i < oracle.at("texts").as_array().size(); ++i) {
      const std::string& text = oracle.at("texts").as_array()[i].as_string();
      EXPECT_EQ(tokenizer.encode(text, true), as_ids(expected.at("ids").as_array()[i])) << name << ": " << text;
      ++compared;
    }
  }
  EXPECT_GT(compared, 1000u);
}

TEST(TokenizerFiles, DecodedTextsEqualThoseOfTransformers) {
  const Json oracle = read_json(test_data() / "tokenizers_oracle.json");
  for (const auto& [name, expected] : oracle.at("tokenizers").as_object()) {
    const Tokenizer tokenizer(test_data() / "tokenizers" / name);
    const auto& decoded = expected.at("decoded").as_array();
    ASSERT_GT(decoded.size(), 10u);
    for (size_t i = 0; i < decoded.size(); ++i)
      EXPECT_EQ(tokenizer.decode(as_ids(expected.at("ids").as_array()[i]), false), decoded[i].as_string()) << name;
  }
}

TEST(TokenizerFiles, SpecialTokensEqualThoseOfTransformers) {
  const Json oracle = read_json(test_data() / "tokenizers_oracle.json");
  for (const auto& [name, expected] : oracle.at("tokenizers").as_object()) {
    const TokenizerFiles files = read_tokenizer_files(test_data() / "tokenizers" / name);
    EXPECT_EQ(files.special_tokens.sorted().dump(), expected.at("special").sorted().dump()) << name;
  }
}

// A folder with the files of `name`, to be changed.
void copy_tokenizer(const char* name, const TemporaryFolder& folder) {
  for (const auto& entry : fs::directory_iterator(test_data() / "tokenizers" / name))
    fs::copy(entry.path(), folder.path() / entry.path().filename());
}

TEST(TokenizerFiles, OtherClassesAreRefusedWithAWayOut) {
  for (const char* name : {"llama_model", "gpt2_merges"}) {
    const TemporaryFolder folder;
    copy_tokenizer(name, folder);
    folder.write("tokenizer_config.json", R"({"tokenizer_class":"T5Tokenizer"})");
    const Error error = error_of([&] { Tokenizer{folder.path()}; });
    EXPECT_EQ(error.kind(), ErrorKind::Unsupported);
    EXPECT_THAT(error.what(), HasSubstr("\"T5Tokenizer\" without tokenizer.json is not supported"));
    EXPECT_THAT(error.what(), HasSubstr("save_pretrained"));
  }
}

// What transformers makes of it has other ids than those that its model was trained with.
TEST(TokenizerFiles, AUnigramModelOfLlamaTokenizerIsRefused) {
  const TemporaryFolder folder;
  copy_tokenizer("unigram_fast", folder);
  folder.write("tokenizer_config.json", R"({"tokenizer_class":"LlamaTokenizer"})");
  const Error error = error_of([&] { Tokenizer{folder.path()}; });
  EXPECT_EQ(error.kind(), ErrorKind::Unsupported);
  EXPECT_THAT(error.what(),
              HasSubstr("tokenizer.model: a SentencePiece model that is not BPE, under class LlamaTokenizer"));
}

// Opening the folder is refused as corrupt, with these words.
void expect_corrupt(const TemporaryFolder& folder, const std::string& words) {
  const Error error = error_of([&] { Tokenizer{folder.path()}; });
  EXPECT_EQ(error.kind(), ErrorKind::CorruptData);
  EXPECT_THAT(error.what(), HasSubstr(words));
}

TEST(TokenizerFiles, BrokenFilesAreNamed) {
  const TemporaryFolder model, merges, decoder, added;
  copy_tokenizer("llama_model", model);
  model.write("tokenizer.model",
              "\x0a\x05"
              "ab");
  expect_corrupt(model, "tokenizer.model: not a SentencePiece model");
  copy_tokenizer("gpt2_merges", merges);
  merges.write("merges.txt", "\xff");
  expect_corrupt(merges, "merges.txt: the merges are not UTF-8");
  copy_tokenizer("gpt2_merges", decoder);
  decoder.write("tokenizer_config.json",
                R"({"tokenizer_class":"GPT2Tokenizer","added_tokens_decoder":{"x":{"content":"a"}}})");
  expect_corrupt(decoder, "added_tokens_decoder: expected ids with tokens, found \"x\"");
  copy_tokenizer("gpt2_merges", added);
  added.write("added_tokens.json", R"({"<|a|>":"1"})");
  expect_corrupt(added, "added_tokens.json: the id of \"<|a|>\" is not an integer");
}

// Digits stand before the bytes in this file: transformers' class would leave them out.
TEST(TokenizerFiles, APrefixSpaceThatTheFileContradictsIsRefused) {
  const TemporaryFolder folder;
  fs::copy(test_data() / "tiny_bpe" / "tokenizer.json", folder.path() / "tokenizer.json");
  folder.write("tokenizer_config.json", R"({"tokenizer_class":"GPT2Tokenizer","add_prefix_space":true})");
  expect_corrupt(folder, "tokenizer.json: add_prefix_space is false here and true in tokenizer_config.json");
  folder.write("tokenizer_config.json", R"({"tokenizer_class":"GPT2Tokenizer","add_prefix_space":false})");
  Tokenizer{folder.path()};
}

TEST(TokenizerFiles, ToolsChooseTheTemplateForTools) {
  const TemporaryFolder folder;
  copy_tokenizer("gpt2_merges", folder);
  fs::create_directory(folder.path() / "additional_chat_templates");
  folder.write("additional_chat_templates/tool_use.jinja", "tools: {{ tools | length }}");
  const Json messages = parse_json(R"([{"role":"user","content":"hi"}])", "messages");
  const Tokenizer without(folder.path());
  EXPECT_THAT(error_of([&] { without.apply_chat_template(messages, false); }).what(),
              HasSubstr("none is called \"default\": \"tool_use\""));
  folder.write("chat_template.jinja", "plain");
  const Tokenizer tokenizer(folder.path());
  EXPECT_EQ(tokenizer.apply_chat_template(messages, false), "plain");
  ChatOptions options;
  options.variables = parse_json(R"({"tools":[{},{}]})", "tools");
  EXPECT_EQ(tokenizer.apply_chat_template(messages, options), "tools: 2");
}

}  // namespace
}  // namespace swage::data
