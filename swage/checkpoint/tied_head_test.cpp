#include "swage/checkpoint/tied_head.h"

#include <gtest/gtest.h>

#include "swage/checkpoint/reader.h"
#include "swage/io/test_files.h"

namespace swage::checkpoint {
namespace {

using io::test::TempFolder;

// A folder with a table of two bytes, and a head of `head_bytes` if there are any.
void make_model(const TempFolder& folder, std::string_view config, std::string_view head_bytes,
                std::string_view head = "lm_head.weight", std::string_view table = "model.embed_tokens.weight") {
  folder.write("config.json", config);
  std::string header = cat("{\"", table, R"(":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})");
  if (!head_bytes.empty())
    header += cat(",\"", head, "\":{\"dtype\":\"U8\",\"shape\":[", head_bytes.size(), "],\"data_offsets\":[2,",
                  2 + head_bytes.size(), "]}");
  folder.write("model.safetensors", io::test::safetensors_bytes(header + "}", cat("ab", head_bytes)));
}

TEST(TiedHead, OfItsOwnUntiesTheModel) {
  for (const char* config : {R"({"tie_word_embeddings":true})", R"({"model_type":"opt"})",
                             R"({"text_config":{"tie_word_embeddings":true}})"}) {
    for (const char* head : {"xy", "abc"}) {
      const TempFolder folder;
      make_model(folder, config, head);
      const Reader reader(folder.path());
      EXPECT_FALSE(reader.config().get_bool("tie_word_embeddings", true)) << config;
      if (const Json* text = reader.config().find("text_config"))
        EXPECT_FALSE(text->get_bool("tie_word_embeddings", true));
      ASSERT_EQ(reader.warnings().size(), 1u);
      for (const char* word : {"tie_word_embeddings", "lm_head.weight", "model.embed_tokens.weight"})
        EXPECT_NE(reader.warnings()[0].find(word), std::string::npos) << word;
      EXPECT_NE(reader.find("lm_head.weight"), nullptr);
    }
  }
}

TEST(TiedHead, ThatRepeatsTheEmbeddingIsNotThere) {
  const TempFolder folder;
  make_model(folder, R"({"tie_word_embeddings":true,"text_config":{}})", "ab", "language_model.lm_head.weight",
             "transformer.wte.weight");
  const Reader reader(folder.path());
  EXPECT_TRUE(reader.config().get_bool("tie_word_embeddings", false));
  EXPECT_TRUE(reader.warnings().empty());
  EXPECT_EQ(reader.find("language_model.lm_head.weight"), nullptr);
  EXPECT_EQ(reader.tensors().size(), 1u);
}

TEST(TiedHead, ThatIsQuantizedIsOneOfItsOwn) {
  const TempFolder folder;
  make_model(folder, R"({"tie_word_embeddings":true})", "xy", "lm_head.weight_packed");
  EXPECT_FALSE(Reader(folder.path()).config().get_bool("tie_word_embeddings", true));
}

TEST(TiedHead, OtherModelsAreLeftAlone) {
  for (const auto& [config, head] :
       {std::pair(R"({"tie_word_embeddings":true})", ""), std::pair(R"({"tie_word_embeddings":false})", "xy"),
        std::pair(R"({"model_type":"llama"})", "xy"), std::pair(R"({"model_type":"llama"})", "ab")}) {
    const TempFolder folder;
    make_model(folder, config, head);
    const Reader reader(folder.path());
    EXPECT_EQ(reader.config().dump(), config);
    EXPECT_TRUE(reader.warnings().empty());
    EXPECT_EQ(reader.tensors().size(), std::string_view(head).empty() ? 1u : 2u);
  }
}

TEST(TiedHead, AnIndexBesideASingleFileIsNamed) {
  const TempFolder folder;
  make_model(folder, "{}", "");
  folder.write("model.safetensors.index.json", R"({"weight_map":{"a":"model.safetensors"}})");
  EXPECT_TRUE(Reader(folder.path()).warnings().empty());
  folder.write("model.safetensors.index.json", R"({"weight_map":{"a":"model-00001-of-00001.safetensors"}})");
  EXPECT_NE(Reader(folder.path()).warnings().at(0).find("which names other files (model-00001-of-00001.safetensors)"),
            std::string::npos);
  folder.write("model.safetensors.index.json", "{");
  EXPECT_NE(Reader(folder.path()).warnings().at(0).find("is passed over: "), std::string::npos);
}

}  // namespace
}  // namespace swage::checkpoint
