#include "swage/data/framing.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "swage/data/data_test_support.h"

namespace swage::data {
namespace {

using testing::ElementsAre;

// As BERT's: something on either side of a text, and a token that stands for a hidden one.
TEST(Framing, KnowsSuffixAndMask) {
  const TemporaryFolder folder;
  Json json = read_json(test_data() / "tiny_bpe/tokenizer.json");
  json.set("post_processor", parse_json(R"({"type": "TemplateProcessing", "pair": [],
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "</s>", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                       "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}})",
                                        "post_processor"));
  folder.write("tokenizer.json", json.dump());
  folder.write("tokenizer_config.json", R"({"mask_token": "</s>"})");
  const Tokenizer tokenizer(folder.path()), plain(test_data() / "tiny_bpe");
  EXPECT_THAT(tokenizer.prefix_ids(), ElementsAre(0));
  EXPECT_THAT(suffix_ids(tokenizer), ElementsAre(1));
  EXPECT_EQ(mask_id(tokenizer), tokenizer.encode("</s>", false).at(0));
  EXPECT_FALSE(mask_id(plain).has_value());
  EXPECT_TRUE(suffix_ids(plain).empty());
}

TEST(Framing, SuffixesEndEachWindow) {
  const at::Tensor windows_NL = at::arange(6).view({2, 3});
  EXPECT_TRUE(with_suffix(windows_NL, {}).equal(windows_NL));
  EXPECT_TRUE(
      with_suffix(windows_NL, {8, 9}).equal(at::tensor({0, 1, 2, 8, 9, 3, 4, 5, 8, 9}, at::kLong).view({2, 5})));
}

}  // namespace
}  // namespace swage::data
