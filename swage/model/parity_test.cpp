// The golden forward passes: logits, hidden states and greedy continuations of every supported architecture.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "swage/base/error.h"
#include "swage/model/cached_sequence_test_support.h"
#include "swage/model/decoder_model.h"
#include "swage/model/parity_test_support.h"
#include "swage/ops/rows_alone.h"

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
    CachedSequence sequence(*loaded_.model);
    at::Tensor next_T = golden("input_ids")[row];
    for (int64_t i = 0; i < golden("greedy.ids").size(1); ++i) {
      const at::Tensor logits_V = logits_together(*loaded_.model, loaded_.blocks, {{&sequence, next_T}})[-1];
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
  const at::Tensor ids_T = golden("input_ids")[0], logits_TV = golden("logits")[0];
  CachedSequence sequence(*loaded_.model, ids_T.size(0));
  for (const int64_t count : {5, 12, 1, 6}) {
    const int64_t position = sequence.tokens;
    const at::Tensor got_TV =
        logits_together(*loaded_.model, loaded_.blocks, {{&sequence, ids_T.narrow(0, position, count)}});
    EXPECT_LE(relative_error(got_TV, logits_TV.narrow(0, position, count)), kTolerance);
  }
  ASSERT_EQ(sequence.tokens, ids_T.size(0));
}

// While rows are alone, a sequence's logits are the same bits whole, in pieces and beside another one.
TEST_P(Parity, RowsAloneAreTheSameBitsInAnyBatch) {
  const ops::RowsAlone alone;
  const at::Tensor ids_T = golden("input_ids")[0], other_T = golden("input_ids")[-1];
  const int64_t tokens = ids_T.size(0);
  CachedSequence whole(*loaded_.model), pieces(*loaded_.model, tokens), other(*loaded_.model, other_T.size(0));
  const at::Tensor expected_TV = logits_together(*loaded_.model, loaded_.blocks, {{&whole, ids_T}});
  EXPECT_LE(relative_error(expected_TV, golden("logits")[0]), kTolerance);
  std::vector<at::Tensor> got;
  for (const int64_t count : {1, 3, 9, 2, 8, 1}) {
    const at::Tensor next_T = ids_T.narrow(0, pieces.tokens, count),
                     beside_T = other_T.narrow(0, other.tokens, count % 4 + 1);
    const bool first = count % 2 == 1;
    const Pieces both =
        first ? Pieces{{&pieces, next_T}, {&other, beside_T}} : Pieces{{&other, beside_T}, {&pieces, next_T}};
    const at::Tensor logits_TV = logits_together(*loaded_.model, loaded_.blocks, both);
    got.push_back(logits_TV.narrow(0, first ? 0 : beside_T.size(0), count));
  }
  ASSERT_EQ(pieces.tokens, tokens);
  EXPECT_TRUE(at::equal(at::cat(got), expected_TV)) << relative_error(at::cat(got), expected_TV);
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
