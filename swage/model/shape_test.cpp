#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "swage/base/error.h"
#include "swage/checkpoint/no_weights.h"
#include "swage/model/model.h"

namespace swage::model {
namespace {

namespace fs = std::filesystem;

ModelShape sizes_of(const Json& config) { return graph::shape_of(make_program(config, checkpoint::NoWeights())); }

Json shipped_config(const std::string& name) {
  std::ifstream file(fs::path(SWAGE_TEST_DATA) / name / "config.json");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_json(text.str(), name);
}

Json published() {
  std::ifstream file(fs::path(SWAGE_TEST_DATA) / "model" / "published.json");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_json(text.str(), "published.json");
}

// The program, or why there is none.
std::string program_or_error(const Json& config) {
  try {
    return graph::text_of(make_program(config, checkpoint::NoWeights()));
  } catch (const Error& e) {
    return e.what();
  }
}

int64_t parameters_of(const std::vector<io::TensorSpec>& tensors) {
  int64_t sum = 0;
  for (const io::TensorSpec& spec : tensors) {
    int64_t count = 1;
    for (const int64_t size : spec.shape) count *= size;
    sum += count;
  }
  return sum;
}

TEST(ModelShape, CountsTheParametersOfTheCheckpoint) {
  for (const char* name : {"llama32_tied", "opt", "opt_350m", "mixtral", "qwen3_moe_fused"}) {
    const Json config = shipped_config(std::string("model/") + name);
    const auto model = make_model(config, checkpoint::NoWeights());
    EXPECT_EQ(model->shape().parameters(), parameters_of(model->required_tensors())) << name;
  }
}

TEST(ModelShape, HasTheModulesOfTheModel) {
  for (const char* name : {"llama32_tied", "opt_350m", "mixtral"}) {
    const auto model = make_model(shipped_config(std::string("model/") + name), checkpoint::NoWeights());
    std::set<std::string> wanted, found;
    for (const ModuleInfo& module : model->modules())
      wanted.insert(
          cat(module.name, " ", module.rows, " ", module.columns, " ", module.block, " ", module.quantizable));
    for (const ModuleInfo& module : model->shape().modules())
      found.insert(cat(module.name, " ", module.rows, " ", module.columns, " ", module.block, " ", module.quantizable));
    EXPECT_EQ(found, wanted) << name;
  }
}

TEST(ModelShape, EveryLinearIsInOneGroupOfLinearsThatReadAsManyColumns) {
  for (const Json& config : {shipped_config("model/opt"), shipped_config("model/mixtral"),
                             shipped_config("pipeline/deepseek_r1"), shipped_config("pipeline/qwen2_5_vl_7b")}) {
    const ModelShape shape = sizes_of(config);
    for (const BlockShape& block : shape.blocks) {
      std::vector<int> seen(block.linears.size());
      for (const Stage& stage : block.stages) {
        for (const InputGroup& group : stage.groups) {
          for (const int index : group.linears) {
            ++seen[size_t(index)];
            EXPECT_EQ(block.linears[size_t(index)].columns, block.linears[size_t(group.linears[0])].columns)
                << block.linears[size_t(index)].name;
          }
        }
      }
      EXPECT_EQ(seen, std::vector<int>(block.linears.size(), 1));
    }
  }
}

// As Hugging Face counts the weights of the published files; R1's file has 2^-14 as many scales besides.
TEST(ModelShape, CountsPublishedModels) {
  EXPECT_EQ(make_model(shipped_config("pipeline/llama3_8b"), checkpoint::NoWeights())->shape().parameters(),
            8030261248);
  EXPECT_EQ(sizes_of(shipped_config("pipeline/qwen2_5_vl_7b")).parameters(), 8292166656);
  const ModelShape r1 = sizes_of(shipped_config("pipeline/deepseek_r1"));
  EXPECT_EQ(r1.parameters() - r1.side_parameters, 671026419200);
  EXPECT_NEAR(double(r1.parameters()), 684.49e9, 0.01e9);
}

// Shapes of published models, and those that the config classes of transformers have by default, with the numbers of
// parameters that transformers makes of the same configs (tests/data/model/make_published.py). A millionth is for what
// is stored and no parameter there: biases that routers choose by, numbers of activation functions.
TEST(ModelShape, CountsThePublishedModelsOfTheTable) {
  const Json table = published();
  std::set<std::string> counted;
  for (const auto& [name, row] : table.as_object()) {
    const Json& config = row.at("config");
    const ModelShape shape = sizes_of(config);
    const bool sees = config.find("vision_config") != nullptr;  // else what is aside drafts tokens: not counted there
    const double expected = row.at("parameters").as_double();
    EXPECT_NEAR(double(shape.parameters() - (sees ? 0 : shape.side_parameters)), expected, 2e-4 * expected) << name;
    counted.insert(config.get_string("model_type", ""));
  }
  for (const std::string& type : supported_model_types()) {
    // Gemma 3n's towers are not counted.
    EXPECT_TRUE(counted.contains(type) || type == "gemma3n") << type;
  }
}

// A config that lacks a field means what transformers' config class takes for it, or is refused: a default of our
// own would be another model without a word.
TEST(ModelShape, AFieldThatIsLeftOutMeansItsDefault) {
  const Json table = published();
  for (const auto& [name, row] : table.as_object()) {
    if (!name.ends_with("defaults")) continue;
    const Json& whole = row.at("config");
    const std::string program = program_or_error(whole);
    for (const auto& [key, value] : whole.as_object()) {
      if (key == "model_type" || key == "architectures") continue;
      Json rest = Json::object();
      for (const auto& [other, kept] : whole.as_object()) {
        if (other != key) rest.set(other, kept);
      }
      const std::string made = program_or_error(rest);
      const bool refused = made.starts_with("config.json: ") && made.ends_with(" is missing");
      EXPECT_TRUE(refused || made == program) << name << " without " << key;
    }
  }
}

// As transformers' Gemma3nTextConfig: without a pattern 0.95 in the first ten of more than ten layers, else nowhere.
TEST(ModelShape, Gemma3nIsSparseInItsFirstTenLayersUnlessTheConfigSaysWhere) {
  Json config = published().at("gemma3n_text, defaults").at("config");
  const auto program = [&] { return graph::text_of(make_program(config, checkpoint::NoWeights())); };
  const std::string sparse = program();
  config.set("activation_sparsity_pattern", Json());
  EXPECT_EQ(program(), sparse);
  Json zeros = Json::array();
  for (int i = 0; i < 35; ++i) zeros.push_back(0);
  config.set("activation_sparsity_pattern", zeros);
  const std::string dense = program();
  EXPECT_NE(dense, sparse);
  config.set("activation_sparsity_pattern", 0);
  EXPECT_EQ(program(), dense);
}

TEST(ModelShape, SizesOfAnUnknownArchitectureAreNotMadeUp) {
  EXPECT_THROW(sizes_of(parse_json(R"({"model_type": "gizmo"})", "config")), Error);
}

TEST(ModelShape, AMissingFieldIsNamed) {
  Json config = shipped_config("pipeline/deepseek_r1");
  config.set("kv_lora_rank", Json());
  try {
    sizes_of(config);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::CorruptData);
    EXPECT_NE(std::string(e.what()).find("kv_lora_rank"), std::string::npos) << e.what();
  }
  Json vision = shipped_config("pipeline/qwen2_5_vl_7b");
  vision.set("vision_config", Json());
  try {
    sizes_of(vision);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("vision_config is missing"), std::string::npos) << e.what();
  }
  config = shipped_config("pipeline/deepseek_r1");
  config.set("num_hidden_layers", int64_t(4096));
  config.set("n_routed_experts", int64_t(16384));
  try {
    sizes_of(config);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(" times n_routed_experts "), std::string::npos) << e.what();
  }
}

// Sizes whose products would leave 64 bits, or whose modules would fill the memory.
TEST(ModelShape, SizesAreBounded) {
  const auto expect_refusal = [](Json config, const char* message) {
    try {
      sizes_of(config);
      FAIL() << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::CorruptData);
      EXPECT_NE(std::string(e.what()).find(message), std::string::npos) << e.what();
    }
  };
  const Json r1 = shipped_config("pipeline/deepseek_r1");
  Json config = r1;
  config.set("num_attention_heads", int64_t(65536));
  expect_refusal(config, " numbers each are too large");
  config = r1;
  config.set("n_shared_experts", int64_t(16384));
  expect_refusal(config, " times moe_intermediate_size ");
  config = r1;
  config.set("num_nextn_predict_layers", int64_t(-1));
  expect_refusal(config, "num_nextn_predict_layers must be from 0 to 64");
  config = shipped_config("pipeline/qwen2_5_vl_7b");
  Json vision = config.at("vision_config");
  vision.set("spatial_merge_size", int64_t(1024));
  config.set("vision_config", vision);
  expect_refusal(config, "spatial_merge_size squared times hidden_size is ");
}

}  // namespace
}  // namespace swage::model
