#include "swage/report/model_card.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "swage/report/size_parts.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;

class ModelCard : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / (std::string("swage-card-") + info->name() + "-" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  CardSource with_card(const std::string& text) const {
    std::ofstream(folder_ / "README.md", std::ios::binary) << text;
    return card_source(folder_);
  }
  fs::path folder_;
};

TEST_F(ModelCard, TheLicenceIsKeptAsItStands) {
  EXPECT_EQ(with_card("---\nlanguage: en\nlicense: apache-2.0\ntags:\n- a\n---\ntext").licence,
            "license: apache-2.0\n");
  EXPECT_EQ(with_card("---\r\nlicense:\r\n- mit\r\n- bsd\r\nbase_model: x\r\n---\r\n").licence,
            "license:\n- mit\n- bsd\n");
  EXPECT_EQ(with_card("license: mit\n").licence, "");  // no head
  EXPECT_EQ(with_card("---\nlicense: mit\nwithout an end").licence, "");
}

TEST_F(ModelCard, SnapshotsAreNamedByTheirId) {
  EXPECT_EQ(source_name("/cache/models--org--my--model/snapshots/0a1b"), "org/my--model");
  EXPECT_EQ(source_name("/cache/models--gpt2/snapshots/0a1b/"), "gpt2");
  EXPECT_EQ(source_name("/here/my model"), "my model");
}

TEST_F(ModelCard, NamesAreQuotedAndWhatIsUnknownIsLeftOut) {
  const std::string card =
      model_card(Json::object(), {.name = "a \"b\"\\c", .is_hub_id = false, .has_card = false, .licence = {}});
  EXPECT_NE(card.find("base_model: \"a \\\"b\\\"\\\\c\"\n"), std::string::npos) << card;
  EXPECT_EQ(card.find("perplexity"), std::string::npos);
  EXPECT_NE(card.find("The licence is that of the source."), std::string::npos);
}

TEST_F(ModelCard, PartsAddUpToTheTensors) {
  const std::vector<io::TensorSpec> tensors = {
      {"model.embed_tokens.weight", io::Dtype::BF16, {10, 4}},
      {"model.layers.0.self_attn.q_norm.weight", io::Dtype::BF16, {4}},
      {"model.layers.0.self_attn.q_proj.weight_packed", io::Dtype::I32, {4, 1}},
      {"model.layers.0.mlp.experts.3.w1.weight", io::Dtype::BF16, {4, 4}},
      {"model.layers.0.mlp.gate.weight", io::Dtype::BF16, {2, 4}},
      {"lm_head.weight", io::Dtype::BF16, {10, 4}},
      {"odd", io::Dtype::F32, {1}}};
  EXPECT_EQ(
      size_parts(tensors).dump(),
      R"([{"part":"embeddings","bytes":80},{"part":"attention","bytes":16},{"part":"mlp","bytes":16},{"part":"experts","bytes":32},{"part":"norms","bytes":8},)"
      R"({"part":"other","bytes":4},{"part":"head","bytes":80}])");
}

}  // namespace
}  // namespace swage::pipeline
