// The golden forward passes: logits, hidden states and greedy continuations of every supported architecture.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "swage/base/error.h"
#include "swage/model/decoder_model.h"
#include "swage/model/parity_test_support.h"

namespace swage::model {
namespace {

namespace fs = std::filesystem;

// The golden runs are float32 too; the vectors' own distance from float64 is below 1e-6.
constexpr double kTolerance = 1e-4;

// Hidden states: the embedding, then the output of every block.
std::vector<at::Tensor> hidden_states(const GoldenModel& loaded, const at::Tensor& ids_T, bool all_tokens = false) {
  std::vector<at::Tensor> out = {loaded.model->embed(ids_T, 0)};
  for (const auto& block : loaded.blocks) {
    Flow flow{.hidden_TD = out.back().clone(), .all_tokens_to_experts = all_tokens};
    block->forward(flow);
    out.push_back(flow.hidden_TD);
  }
  return out;
}

// Logits of the next tokens, through the cache.
at::Tensor cached_logits(const GoldenModel& loaded, const at::Tensor& ids_T, std::vector<KvCache>& caches) {
  const int64_t position = caches.front().tokens();
  at::Tensor hidden_TD = loaded.model->embed(ids_T, position);
  for (size_t i = 0; i < loaded.blocks.size(); ++i) {
    Flow flow{.hidden_TD = hidden_TD, .position = position, .cache = &caches[i]};
    loaded.blocks[i]->forward(flow);
    hidden_TD = flow.hidden_TD;
  }
  return loaded.model->logits(hidden_TD);
}

std::vector<KvCache> make_caches(const GoldenModel& loaded) {
  return std::vector<KvCache>(loaded.blocks.size(), loaded.model->make_cache());
}

class Parity : public testing::TestWithParam<std::tuple<fs::path, std::string>> {
 protected:
  void SetUp() override {
    at::set_num_threads(1);  // tiny tensors: two threads would only wait for each other
    const auto& [folder, config] = GetParam();
    loaded_ = load_golden(folder, config);
    golden_ = read_safetensors(golden_io(folder));
  }
  at::Tensor golden(const std::string& name) const { return golden_.at(name); }

  GoldenModel loaded_;
  TensorMap golden_;
};

TEST_P(Parity, LogitsAndHiddenStatesAreTheGoldenOnes) {
  for (int64_t row = 0; row < golden("input_ids").size(0); ++row) {
    const auto states = hidden_states(loaded_, golden("input_ids")[row]);
    // Those of the Mamba line count from the output of the first layer on.
    const std::string type = loaded_.config.get_string("model_type", "");
    const size_t first = type == "mamba" || type == "mamba2" || type == "falcon_mamba" ? 1 : 0;
    for (size_t n = first; n + 1 < states.size(); ++n) {
      at::Tensor expected = golden(cat("hidden_states.", n - first));
      if (expected.dim() == 4) expected = expected[0];  // Gemma 3n's several streams, of which the first lies in front
      expected = expected[row];
      EXPECT_LE(relative_error(states[n].narrow(1, 0, expected.size(1)), expected), kTolerance) << "hidden state " << n;
    }
    EXPECT_LE(relative_error(loaded_.model->logits(states.back()), golden("logits")[row]), kTolerance);
  }
}

TEST_P(Parity, AllTokensToExpertsLeavesTheOutputAsItIs) {
  const at::Tensor ids_T = golden("input_ids")[0];
  const auto states = hidden_states(loaded_, ids_T, true);
  EXPECT_LE(relative_error(loaded_.model->logits(states.back()), golden("logits")[0]), kTolerance);
}

TEST_P(Parity, GreedyByRecomputing) {
  for (int64_t row = 0; row < golden("input_ids").size(0); ++row) {
    at::Tensor ids_T = golden("input_ids")[row];
    for (int64_t i = 0; i < golden("greedy.ids").size(1); ++i) {
      const at::Tensor logits_V = loaded_.model->logits(hidden_states(loaded_, ids_T).back())[-1];
      EXPECT_LE(relative_error(logits_V, golden("greedy.logits")[row][i]), kTolerance);
      ASSERT_EQ(logits_V.argmax().item<int64_t>(), golden("greedy.ids")[row][i].item<int64_t>());
      ids_T = at::cat({ids_T, golden("greedy.ids")[row].narrow(0, i, 1)});
    }
  }
}

TEST_P(Parity, GreedyThroughTheCache) {
  const Json* scaling = loaded_.config.find("rope_scaling");
  if (!scaling || scaling->is_null()) scaling = loaded_.config.find("rope_parameters");
  // Keys in a cache keep the base of the length at which they were made, those of the golden logits do not.
  const bool dynamic = scaling && scaling->get_string("rope_type", "") == "dynamic";
  for (int64_t row = 0; row < golden("input_ids").size(0); ++row) {
    std::vector<KvCache> caches = make_caches(loaded_);
    at::Tensor next_T = golden("input_ids")[row];
    for (int64_t i = 0; i < golden("greedy.ids").size(1); ++i) {
      const at::Tensor logits_V = cached_logits(loaded_, next_T, caches)[-1];
      if (!dynamic) {
        EXPECT_LE(relative_error(logits_V, golden("greedy.logits")[row][i]), kTolerance);
      }
      ASSERT_EQ(logits_V.argmax().item<int64_t>(), golden("greedy.ids")[row][i].item<int64_t>());
      next_T = golden("greedy.ids")[row].narrow(0, i, 1);
    }
  }
}

// A prompt given in pieces, as a long one would be, ends in the same logits.
TEST_P(Parity, PrefillInPiecesIsTheSame) {
  for (const char* by_length : {"dynamic", "long_factor"}) {
    if (loaded_.config.dump().find(by_length) != std::string::npos)
      GTEST_SKIP() << "the rotary embedding depends on the piece's end";
  }
  std::vector<KvCache> caches = make_caches(loaded_);
  const at::Tensor ids_T = golden("input_ids")[0], logits_TV = golden("logits")[0];
  int64_t position = 0;
  for (const int64_t count : {5, 12, 1, 6}) {
    const at::Tensor got_TV = cached_logits(loaded_, ids_T.narrow(0, position, count), caches);
    EXPECT_LE(relative_error(got_TV, logits_TV.narrow(0, position, count)), kTolerance);
    position += count;
  }
  ASSERT_EQ(position, ids_T.size(0));
}

TEST_P(Parity, RequiredTensorsAreThoseOfTheCheckpoint) {
  std::map<std::string, std::vector<int64_t>> required, stored;
  for (const auto& spec : loaded_.model->required_tensors()) required[spec.name] = spec.shape;
  const std::vector<std::string>& sides = loaded_.model->program().side_modules;
  for (const auto& [name, tensor] : loaded_.weights->tensors) {
    const bool side =
        std::any_of(sides.begin(), sides.end(), [&](const auto& begin) { return name.starts_with(begin); });
    if (!side) stored[name] = tensor.sizes().vec();
  }
  EXPECT_EQ(required, stored);
  for (int64_t i = 0; i < loaded_.model->blocks(); ++i) {
    for (const std::string& name : loaded_.model->tensors_of_block(i)) EXPECT_TRUE(stored.count(name)) << name;
  }
}

// Routers; what readers multiply with by themselves: a step's projection, weights of an index, Conv1D; what layers
// share (Zamba 2); and around the layers proper of Gemma 3n, as its published quantizations leave it.
bool stays_float(const ModuleInfo& module, const std::string& model_type) {
  const auto is_in = [&](const char* part) { return module.name.find(part) != std::string::npos; };
  return module.role == graph::Role::Router || module.name.ends_with(".dt_proj") ||
         module.name.ends_with(".weights_proj") || (module.stored.transposed && !module.stored.shared()) ||
         is_in(".shared_transformer.") || is_in(".altup.") || is_in(".laurel.") ||
         (model_type == "gemma3n_text" && is_in(".per_layer_"));
}

// Every linear of the blocks is listed, in the blocks' order, with the block's shapes, and stands in exactly one stage.
TEST_P(Parity, ModulesAgreeWithTheBlocks) {
  std::map<std::string, ModuleInfo> modules;
  for (const ModuleInfo& module : loaded_.model->modules()) modules[module.name] = module;
  for (size_t b = 0; b < loaded_.blocks.size(); ++b) {
    std::vector<int> uses(loaded_.blocks[b]->linears.size());
    for (const Stage& stage : loaded_.blocks[b]->stages)
      for (const InputGroup& group : stage.groups)
        for (const int linear : group.linears) ++uses[static_cast<size_t>(linear)];
    EXPECT_EQ(uses, std::vector<int>(uses.size(), 1));
    for (const Linear& linear : loaded_.blocks[b]->linears) {
      ASSERT_TRUE(modules.count(linear.name)) << linear.name;
      const ModuleInfo& info = modules[linear.name];
      EXPECT_EQ(linear.weight_OI.sizes(), at::IntArrayRef({info.rows, info.columns})) << linear.name;
      EXPECT_EQ(std::tuple(linear.rows, linear.columns), std::tuple(info.rows, info.columns));
      EXPECT_TRUE(info.class_name == "Linear" && info.block == static_cast<int>(b));
      EXPECT_EQ(info.quantizable, !stays_float(info, loaded_.config.get_string("model_type", ""))) << linear.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Parity,
                         testing::Combine(testing::ValuesIn(parity_folders()),
                                          testing::Values("config.json", "config.hub.json")),
                         [](const auto& info) {
                           return std::get<0>(info.param).filename().string() +
                                  (std::get<1>(info.param) == "config.json" ? "" : "_hub");
                         });

TEST(ParitySet, SaysWhichSetRan) {
  std::string names;
  for (const fs::path& folder : parity_folders()) names += " " + folder.filename().string();
  std::cout << "golden models:" << names << "\n";
  RecordProperty("golden_models", names);
  EXPECT_GE(parity_folders().size(), 5u);
}

// OPT checkpoints of the hub carry the names of the bare decoder.
TEST(OptNames, BareDecoderPrefix) {
  const fs::path folder = parity_folder("opt");
  TensorMap renamed;
  for (const auto& [name, tensor] : read_safetensors(folder / "model.safetensors")) renamed[name.substr(6)] = tensor;
  const MapSource weights(renamed);
  const auto model = make_model(parse_json(read_text(folder / "config.json"), "config.json"), weights);
  model->load_ends(weights);
  EXPECT_EQ(model->load_block(0, weights)->linears[0].name, "decoder.layers.0.self_attn.q_proj");
  EXPECT_EQ(model->modules()[0].name, "decoder.embed_tokens");
}

}  // namespace
}  // namespace swage::model
