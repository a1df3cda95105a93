// Every architecture of the table, on tiny models of random weights: what is derived from its program leaves the
// function as it is, and every modifier gets through it with the layout that was planned.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/format/weight_source.h"
#include "swage/model/stored_part.h"
#include "swage/pipeline/compress.h"
#include "swage/pipeline/tiny_models_test_support.h"
#include "swage/resolve/rescaling.h"
#include "swage/views/rotated_weights.h"

namespace swage::pipeline {
namespace {

// Of an encoder without a head its last hidden state.
at::Tensor logits_of(const Json& config, const checkpoint::WeightSource& weights) {
  const auto model = model::make_model(config, weights);
  const at::Tensor ids_NL = (at::arange(2 * 20).view({2, 20}) * 37 % kVocabulary).to(at::kLong);
  model->load_ends(weights);
  const graph::ModelProgram& program = model->program();
  const eval::Inputs inputs{ids_NL, {}, {}, program.target ? ids_NL : at::Tensor()};
  std::vector<model::Flow> flows;
  for (int64_t row = 0; row < ids_NL.size(0); ++row) flows.push_back(eval::embed_row(*model, inputs, row).flow);
  eval::run_blocks(*model, weights, flows, Context(), [](int64_t) {});
  std::vector<at::Tensor> rows;
  for (const model::Flow& flow : flows) {
    const at::Tensor hidden_TD = flow.hidden_TD.slice(0, flow.source_rows);
    rows.push_back(program.head.rows > 0 ? model->logits(hidden_TD) : model->last_hidden(hidden_TD));
  }
  return at::cat(rows);
}

double difference(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).abs().max() / expected.abs().max()).item<double>();
}

// Three layers are some 30 chained roundings of 2^-24 on either side, which sums and norms multiply by their condition,
// about 50 with random weights.
constexpr double kTolerance = 2 * 30 * 50 * 0x1p-24;

TEST(Architectures, EachOfTheTableHasATinyModel) {
  std::set<std::string> covered;
  for (const auto& [name, config] : configs()) covered.insert(config.get_string("model_type", ""));
  for (const std::string& model_type : model::supported_model_types())
    EXPECT_TRUE(covered.contains(model_type)) << model_type;
}

// The weight [O, I] of a module of a block: a view of the tensor that holds it, which may be transposed or several's.
at::Tensor weight_of(const model::BlockShape& block, TensorMap& tensors, const std::string& name) {
  for (const auto* list : {&block.linears, &block.routers}) {
    for (const model::ModuleInfo& linear : *list) {
      if (linear.name != name) continue;
      const graph::Stored& stored = linear.stored;
      return model::weight_part(stored, linear.rows, tensors.at(stored.shared() ? stored.tensor : name + ".weight"));
    }
  }
  return tensors.at(name + ".weight");  // of a norm
}

// A test for each, so that ctest can run them side by side.
class EveryArchitecture : public testing::TestWithParam<std::string> {
 protected:
  const std::string& name() const { return GetParam(); }
  const Json config_ = configs().at(GetParam());
};

std::vector<std::string> names_of_configs() {
  std::vector<std::string> out;
  for (const auto& [name, config] : configs()) out.push_back(name);
  return out;
}

INSTANTIATE_TEST_SUITE_P(OfTheTable, EveryArchitecture, testing::ValuesIn(names_of_configs()),
                         [](const auto& test) { return test.param; });

// Divides the producers by random s and multiplies the consumers.
void smooth(const model::Model& model, TensorMap& tensors) {
  const model::ModelShape shape = model.shape();
  for (int64_t b = 0; b < model.blocks(); ++b) {
    const auto weight = [&](const std::string& name) { return weight_of(shape.blocks[size_t(b)], tensors, name); };
    for (const model::SmoothingPair& pair : model.smoothing_pairs(b)) {
      const int64_t columns = weight(pair.consumers[0]).size(1);
      const at::Tensor s_R = at::rand({columns / pair.repeats / pair.run, 1, pair.run}) + 0.5;
      const at::Tensor s_I = s_R.expand({-1, pair.repeats, -1}).reshape({-1}), s_O = scales_of_producer(s_I, pair);
      at::Tensor made = weight(pair.producer);
      if (pair.norm)
        made.add_(pair.offset).div_(s_O).sub_(pair.offset);
      else
        made.div_(s_O.unsqueeze(1));
      if (pair.bias) tensors.at(pair.producer + ".bias").div_(s_O);
      for (const std::string& consumer : pair.consumers) weight(consumer).mul_(s_I);
    }
  }
}

TEST_P(EveryArchitecture, SmoothingPairsLeaveTheFunctionAsItIs) {
  InMemory weights = random_weights(config_);
  for (auto& [tensor, values] : weights.tensors) values = values.to(at::kFloat);
  const at::Tensor expected = logits_of(config_, weights);
  ASSERT_TRUE(expected.isfinite().all().item<bool>());
  const auto model = model::make_model(config_, weights);
  smooth(*model, weights.tensors);
  EXPECT_LE(difference(logits_of(config_, weights), expected), kTolerance);
}

// R1, R2 and what the reader computes; an architecture that cannot take one says so.
TEST_P(EveryArchitecture, RotationsLeaveTheFunctionAsItIsOrAreRefused) {
  using solvers::RotationKind;
  const InMemory weights = random_weights(config_);
  const at::Tensor expected = logits_of(config_, weights);
  const auto model = model::make_model(config_, weights);
  for (const modifiers::RotationRequest& request :
       std::vector<modifiers::RotationRequest>{{.stream = true, .kind = RotationKind::RandomMatrix},
                                               {.heads = true, .kind = RotationKind::RandomMatrix},
                                               {.keys = true, .inner = true, .kind = RotationKind::RandomMatrix}}) {
    try {
      const RotatedWeights rotated(weights, *model, request, 11);
      EXPECT_LE(difference(logits_of(config_of_rotated(config_, rotated), rotated), expected), kTolerance)
          << request.stream << request.heads;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Unsupported) << e.what();
      const std::set<std::string> turns = {"deepseek_v3", "gemma", "llama31", "phi3_short", "qwen3_moe", "granite"};
      EXPECT_FALSE(request.stream && turns.contains(name())) << e.what();
    }
  }
}

// What the run wrote: a model with finite logits.
void check_output(const fs::path& folder, const std::string& what) {
  const checkpoint::Reader reader(folder);
  const format::CheckpointWeights weights(reader);
  EXPECT_TRUE(logits_of(reader.config(), weights).isfinite().all().item<bool>()) << what;
}

// The Writer refuses a tensor that was not planned, and to finish without one that was.
TEST_P(EveryArchitecture, EveryModifierWritesWhatItPlanned) {
  const Folder folder(name());
  const fs::path source = folder.path / "source";
  write_model(source, config_, random_weights(config_));
  for (const auto& [recipe, parts] : recipes()) {
    const Modifiers modifiers = modifiers_of(parts);
    try {
      run_compress(job_of(source, folder.path / "out", modifiers), Context());
      check_output(folder.path / "out", recipe);
    } catch (const Error& e) {
      EXPECT_TRUE(e.kind() == ErrorKind::Unsupported || name() == "gpt2" || recipe == "nvfp4")
          << recipe << ": " << e.what();
      std::cout << "refused: " << name() << ", " << recipe << ": " << e.what() << "\n";
    }
  }
}

}  // namespace
}  // namespace swage::pipeline
