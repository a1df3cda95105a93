// The golden forward passes of encoders and encoder-decoders: logits, hidden states, and rows that are padded.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/model/parity_test_support.h"

namespace swage::model {
namespace {

namespace fs = std::filesystem;

// The golden runs are float32 too; the vectors' own distance from float64 is below 1e-6.
constexpr double kEncoderTolerance = 1e-4;

std::vector<fs::path> folders(std::initializer_list<const char*> names) {
  std::vector<fs::path> out;
  for (const char* name : names) {
    if (fs::exists(parity_folder(name) / "io.safetensors")) out.push_back(parity_folder(name));
  }
  return out;
}

std::vector<fs::path> encoder_folders() {
  return folders({"bert", "deberta_v2", "deberta_v2_conv", "distilbert", "electra", "electra_discriminator",
                  "modernbert", "roberta", "xlm_roberta"});
}

std::string name_of(const testing::TestParamInfo<std::tuple<fs::path, std::string>>& info) {
  return std::get<0>(info.param).filename().string() + (std::get<1>(info.param) == "config.json" ? "" : "_hub");
}

class EncoderParity : public testing::TestWithParam<std::tuple<fs::path, std::string>> {
 protected:
  void SetUp() override {
    at::set_num_threads(1);  // tiny tensors: two threads would only wait for each other
    const auto& [folder, config] = GetParam();
    loaded_ = load_golden(folder, config);
    golden_ = read_safetensors(folder / "io.safetensors");
  }
  at::Tensor golden(const std::string& name) const { return golden_.at(name); }
  at::Tensor types(int64_t row) const {
    const auto found = golden_.find("token_type_ids");
    return found == golden_.end() ? at::Tensor() : found->second[row];
  }
  // A discriminator's are one number a token.
  at::Tensor logits(const at::Tensor& hidden_TD) const {
    const at::Tensor logits_TV = loaded_.model->logits(hidden_TD);
    return logits_TV.size(1) == 1 ? logits_TV.squeeze(1) : logits_TV;
  }

  GoldenModel loaded_;
  TensorMap golden_;
};

TEST_P(EncoderParity, LogitsAndHiddenStatesAreTheGoldenOnes) {
  for (int64_t row = 0; row < golden("input_ids").size(0); ++row) {
    Flow flow{.hidden_TD = loaded_.model->embed(golden("input_ids")[row], 0, types(row))};
    for (size_t b = 0; b < loaded_.blocks.size(); ++b) {
      EXPECT_LE(relative_error(flow.hidden_TD, golden(cat("hidden_states.", b))[row]), kEncoderTolerance)
          << "before " << b;
      loaded_.blocks[b]->forward(flow);
    }
    EXPECT_LE(relative_error(loaded_.model->last_hidden(flow.hidden_TD), golden("last_hidden_state")[row]),
              kEncoderTolerance);
    EXPECT_LE(relative_error(logits(flow.hidden_TD), golden("logits")[row]), kEncoderTolerance);
  }
}

// Row by row without its padding, which nobody may see: what the others give is the same.
TEST_P(EncoderParity, PaddedRowsAreThoseWithoutPadding) {
  for (int64_t row = 0; row < golden("padded.input_ids").size(0); ++row) {
    const int64_t count = golden("padded.attention_mask")[row].sum().item<int64_t>();
    ASSERT_TRUE(golden("padded.attention_mask")[row].narrow(0, 0, count).all().item<bool>()) << "padded at the end";
    Flow flow{.hidden_TD =
                  loaded_.model->embed(golden("padded.input_ids")[row], 0, types(row)).narrow(0, 0, count).clone()};
    for (const auto& block : loaded_.blocks) block->forward(flow);
    EXPECT_LE(relative_error(logits(flow.hidden_TD), golden("padded.logits")[row].narrow(0, 0, count)),
              kEncoderTolerance);
  }
}

TEST_P(EncoderParity, RequiredTensorsAreThoseOfTheCheckpoint) {
  std::map<std::string, std::vector<int64_t>> required, stored;
  for (const auto& spec : loaded_.model->required_tensors()) required[spec.name] = spec.shape;
  for (const auto& [name, tensor] : loaded_.weights->tensors) stored[name] = tensor.sizes().vec();
  EXPECT_EQ(required, stored);
  int64_t parameters = 0;
  for (const auto& [name, tensor] : loaded_.weights->tensors) parameters += tensor.numel();
  EXPECT_EQ(loaded_.model->shape().parameters(), parameters);
}

// Every linear of the blocks stands in exactly one stage; what is around them stays as it is.
TEST_P(EncoderParity, ModulesAgreeWithTheBlocks) {
  std::map<std::string, ModuleInfo> modules;
  for (const ModuleInfo& module : loaded_.model->modules()) modules[module.name] = module;
  for (const auto& block : loaded_.blocks) {
    std::vector<int> uses(block->linears.size());
    for (const Stage& stage : block->stages)
      for (const InputGroup& group : stage.groups)
        for (const int linear : group.linears) ++uses[static_cast<size_t>(linear)];
    EXPECT_EQ(uses, std::vector<int>(uses.size(), 1));
    for (const Linear& linear : block->linears) {
      ASSERT_TRUE(modules.count(linear.name)) << linear.name;
      EXPECT_EQ(linear.weight_OI.sizes(), at::IntArrayRef({modules[linear.name].rows, modules[linear.name].columns}));
      EXPECT_TRUE(modules[linear.name].quantizable) << linear.name;
      modules.erase(linear.name);
    }
  }
  for (const auto& [name, module] : modules)
    EXPECT_TRUE(module.is_embedding() || !module.quantizable || module.role == graph::Role::Projection) << name;
}

INSTANTIATE_TEST_SUITE_P(All, EncoderParity,
                         testing::Combine(testing::ValuesIn(encoder_folders()),
                                          testing::Values("config.json", "config.hub.json")),
                         name_of);

// The stream holds the source's tokens, then the target's.
class SequenceParity : public EncoderParity {
 protected:
  Flow flow_of(const at::Tensor& source_T, const at::Tensor& target_T) const {
    Flow flow{.hidden_TD = at::cat({loaded_.model->embed(source_T, 0), loaded_.model->embed_target(target_T)})};
    flow.source_rows = source_T.size(0);
    return flow;
  }
  at::Tensor target_logits(const Flow& flow) const {
    return loaded_.model->logits(flow.hidden_TD.narrow(0, flow.source_rows, flow.hidden_TD.size(0) - flow.source_rows));
  }
};

TEST_P(SequenceParity, LogitsAndHiddenStatesAreTheGoldenOnes) {
  for (int64_t row = 0; row < golden("input_ids").size(0); ++row) {
    const at::Tensor source_T = golden("input_ids")[row], target_T = golden("decoder_input_ids")[row];
    Flow flow = flow_of(source_T, target_T);
    const auto& blocks = loaded_.model->program().blocks;
    int encoders = 0, decoders = 0;
    for (size_t b = 0; b < blocks.size(); ++b) {
      const bool encodes = blocks[b].rows == graph::Rows::Source;
      const at::Tensor before_TD = encodes ? flow.hidden_TD.narrow(0, 0, flow.source_rows)
                                           : flow.hidden_TD.narrow(0, flow.source_rows, target_T.size(0));
      const std::string name = encodes ? cat("encoder_hidden_states.", encoders++) : cat("hidden_states.", decoders++);
      EXPECT_LE(relative_error(before_TD, golden(name)[row]), kEncoderTolerance) << name;
      loaded_.blocks[b]->forward(flow);
    }
    EXPECT_LE(relative_error(flow.hidden_TD.narrow(0, 0, flow.source_rows), golden("encoder_last_hidden_state")[row]),
              kEncoderTolerance);
    EXPECT_LE(relative_error(target_logits(flow), golden("logits")[row]), kEncoderTolerance);
  }
}

TEST_P(SequenceParity, PaddedSourcesAreThoseWithoutPadding) {
  for (int64_t row = 0; row < golden("padded.input_ids").size(0); ++row) {
    const int64_t count = golden("padded.attention_mask")[row].sum().item<int64_t>();
    Flow flow = flow_of(golden("padded.input_ids")[row].narrow(0, 0, count), golden("decoder_input_ids")[row]);
    for (const auto& block : loaded_.blocks) block->forward(flow);
    EXPECT_LE(relative_error(target_logits(flow), golden("padded.logits")[row]), kEncoderTolerance);
  }
}

TEST_P(SequenceParity, RequiredTensorsAreThoseOfTheCheckpoint) {
  std::map<std::string, std::vector<int64_t>> required, stored;
  for (const auto& spec : loaded_.model->required_tensors()) required[spec.name] = spec.shape;
  for (const auto& [name, tensor] : loaded_.weights->tensors) stored[name] = tensor.sizes().vec();
  EXPECT_EQ(required, stored);
}

INSTANTIATE_TEST_SUITE_P(All, SequenceParity,
                         testing::Combine(testing::ValuesIn(folders({"bart", "flan_t5", "t5"})),
                                          testing::Values("config.json", "config.hub.json")),
                         name_of);

TEST(EncoderParitySet, IsThere) { EXPECT_GE(encoder_folders().size(), 3u); }

// Sentence encoders are stored as the body alone, with a pooler, which is copied.
TEST(EncoderNames, BareBodyWithPooler) {
  const fs::path folder = parity_folder("bert");
  TensorMap renamed;
  for (const auto& [name, tensor] : read_safetensors(folder / "model.safetensors")) {
    if (name.starts_with("bert.")) renamed[name.substr(5)] = tensor;
  }
  renamed["pooler.dense.weight"] = at::zeros({32, 32});
  renamed["pooler.dense.bias"] = at::zeros({32});
  const MapSource weights(renamed);
  const auto model = make_model(parse_json(read_text(folder / "config.json"), "config.json"), weights);
  model->load_ends(weights);
  EXPECT_EQ(model->program().predicts, graph::Predicts::Nothing);
  EXPECT_EQ(model->program().side_modules, std::vector<std::string>{"pooler.dense."});
  EXPECT_EQ(model->load_block(0, weights)->linears[0].name, "encoder.layer.0.attention.self.query");
  const TensorMap golden = read_safetensors(folder / "io.safetensors");
  Flow flow{.hidden_TD = model->embed(golden.at("input_ids")[0], 0, golden.at("token_type_ids")[0])};
  for (int64_t b = 0; b < model->blocks(); ++b) model->load_block(b, weights)->forward(flow);
  EXPECT_LE(relative_error(model->last_hidden(flow.hidden_TD), golden.at("last_hidden_state")[0]), kEncoderTolerance);
  EXPECT_THROW(model->logits(flow.hidden_TD), Error);
}

}  // namespace
}  // namespace swage::model
