#include "swage/views/pruned_experts.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "swage/base/error.h"
#include "swage/format/weight_source.h"
#include "swage/schedule/block_expert_pruner.h"
#include "swage/solvers/expert_saliency.h"

namespace swage::pipeline {
namespace {

using testing::HasSubstr;

std::filesystem::path data(const std::string& name) { return std::filesystem::path(SWAGE_TEST_DATA) / name; }

std::unique_ptr<modifiers::Modifier> reap_of(const std::string& fields) {
  return modifiers::make_modifier("reap", parse_json(fields, "fields"), "test");
}

// A golden model of 4 experts, 2 to a token, one of which goes.
struct Golden {
  explicit Golden(const std::string& name, const std::string& fields = R"({"sparsity": 0.25})")
      : reader(data("model") / name),
        weights(reader),
        model(model::make_model(reader.config(), weights)),
        modifier(reap_of(fields)) {}
  PrunedExperts pruned() const {
    return PrunedExperts(weights, *model, dynamic_cast<const modifiers::ExpertPruner&>(*modifier));
  }

  checkpoint::Reader reader;
  format::CheckpointWeights weights;
  std::shared_ptr<model::Model> model;
  std::unique_ptr<modifiers::Modifier> modifier;
};

void take_to_mixture(const model::Block& block, Activations& activations) {
  activations.advance([&](model::Flow& flow) { block.begin(flow); });
  for (const int s : {0, 1}) activations.advance([&](model::Flow& flow) { block.step(s, flow); });
}

std::vector<std::vector<int64_t>> numbers(const Json& list) {
  std::vector<std::vector<int64_t>> out;
  for (const Json& row : list.as_array()) {
    out.emplace_back();
    for (const Json& value : row.as_array()) out.back().push_back(value.as_int());
  }
  return out;
}

Json oracle() {
  std::ifstream file(data("pipeline") / "reap.json");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_json(text.str(), "reap.json");
}

at::Tensor ids_of(const Json& oracle) {
  std::vector<at::Tensor> rows;
  for (const std::vector<int64_t>& row : numbers(oracle.at("input_ids"))) rows.push_back(at::tensor(row, at::kLong));
  return at::stack(rows);
}

// Three layers are some 30 chained roundings of 2^-24 on either side; sums over up to 64 columns multiply each by their
// condition, about 10.
constexpr double kTolerance = 2 * 30 * 10 * 0x1p-24;

// LLM Compressor's own scores, routed tokens and choices, layer after layer: the later ones see the pruned output of
// those before.
TEST(PrunedExperts, ScoresAndChoicesAreLlmCompressors) {
  const Json expected = oracle();
  for (const Json& run : expected.at("runs").as_array()) {
    const Golden golden(run.at("model").as_string(), cat("{\"sparsity\": ", run.at("sparsity").as_double(), "}"));
    PrunedExperts pruned = golden.pruned();
    golden.model->load_ends(golden.weights);
    for (const bool all_tokens : {true, false}) {
      Activations activations(*golden.model, ids_of(expected), {});
      activations.make_room(64);
      if (!all_tokens) activations.advance([](model::Flow& flow) { flow.all_tokens_to_experts = false; });
      for (int64_t b = 0; b < 3; ++b) {
        const Json& layer = run.at("layers").as_array()[size_t(b)];
        const auto block = golden.model->load_block(b, golden.weights);
        take_to_mixture(*block, activations);
        const modifiers::ExpertStatistics statistics = expert_statistics(*block, 4, activations);
        const std::vector<double> scores = pruned.by().scores(statistics);
        std::vector<int64_t> tokens;
        for (size_t e = 0; e < 4; ++e) {
          const double score = layer.at("scores").as_array()[e].as_double();
          EXPECT_NEAR(scores[e], score, score * kTolerance) << golden.reader.folder() << ", layer " << b;
          tokens.push_back(layer.at("tokens").as_array()[e].as_int());
        }
        EXPECT_EQ(statistics.tokens, tokens);
        const std::vector<int64_t> kept = solvers::most_salient(scores, pruned.experts() - pruned.stay());
        EXPECT_EQ(numbers(parse_json(cat("[", layer.at("retained").dump(), "]"), "retained"))[0], kept)
            << "layer " << b;
        block->keep_experts(kept);
        activations.advance([&](model::Flow& flow) { block->route_again(flow); });
        for (size_t s = 2; s < block->stages.size(); ++s)
          activations.advance([&](model::Flow& flow) { block->step(int(s), flow); });
      }
    }
  }
}

at::Tensor expert_of(const Golden& golden, int64_t b, int64_t e, const at::Tensor& x_TD) {
  const graph::Mixture& mixture = *golden.model->mixture(b);
  const std::vector<graph::LinearSpec>& names = mixture.experts[size_t(e)];
  at::Tensor gate_ID, up_ID, down_DI;
  if (!mixture.shared.empty()) {
    const at::Tensor both = golden.weights.load(mixture.shared[0].first)[e];
    gate_ID = both.chunk(2, 0)[0];
    up_ID = both.chunk(2, 0)[1];
    down_DI = golden.weights.load(mixture.shared[1].first)[e];
  } else {
    gate_ID = golden.weights.load(names[0].name + ".weight");
    up_ID = golden.weights.load(names[1].name + ".weight");
    down_DI = golden.weights.load(names[2].name + ".weight");
  }
  const at::Tensor x = x_TD.to(at::kDouble);
  return at::silu(x.mm(gate_ID.to(at::kDouble).t()))
      .mul(x.mm(up_ID.to(at::kDouble).t()))
      .mm(down_DI.to(at::kDouble).t());
}

// Token by token and in f64, from the definition: softmax over all experts, the two best, their weights made to sum to
// one. One block's roundings, 10 of 2^-24 a token, with a condition of about 10.
TEST(PrunedExperts, ScoresAreTheirDefinition) {
  for (const char* name : {"mixtral", "qwen3_moe_fused"}) {
    const Golden golden(name);
    golden.model->load_ends(golden.weights);
    Activations activations(*golden.model, ids_of(oracle()), {});
    activations.make_room(64);
    const auto block = golden.model->load_block(0, golden.weights);
    take_to_mixture(*block, activations);
    const modifiers::ExpertStatistics found = expert_statistics(*block, 4, activations);
    std::vector<double> sums(4);
    for (const model::Flow& flow : activations.flows()) {
      const at::Tensor router_ED =
          golden.weights.load(golden.model->mixture(0)->router.name + ".weight").to(at::kDouble);
      const at::Tensor shares_TE = at::softmax(flow.mlp_input_TD.to(at::kDouble).mm(router_ED.t()), -1);
      for (int64_t e = 0; e < 4; ++e) {
        const at::Tensor norm_T = expert_of(golden, 0, e, flow.mlp_input_TD).norm(2, 1);
        for (int64_t t = 0; t < norm_T.size(0); ++t) {
          const auto [best, ids] = shares_TE[t].topk(2);
          if ((ids == e).any().item<bool>())
            sums[size_t(e)] += (shares_TE[t][e] / best.sum() * norm_T[t]).item<double>();
        }
      }
    }
    for (size_t e = 0; e < 4; ++e)
      EXPECT_NEAR(found.weighted_norms[e], sums[e], sums[e] * 100 * 0x1p-24) << name << ", expert " << e;
  }
}

// The model that a config of fewer experts describes, loaded through the pruned weights, and the block pruned in place:
// the same bits.
TEST(PrunedExperts, LoadedAndPrunedInPlaceAreTheSame) {
  for (const char* name : {"mixtral", "qwen3_moe_fused"}) {
    const Golden golden(name);
    PrunedExperts pruned = golden.pruned();
    const auto smaller = model::make_model(config_of_pruned(golden.reader.config(), pruned), pruned);
    golden.model->load_ends(golden.weights);
    pruned.keep(1, {0, 2, 3});
    const auto in_place = golden.model->load_block(1, golden.weights), loaded = smaller->load_block(1, pruned);
    in_place->keep_experts({0, 2, 3});
    ASSERT_EQ(in_place->linears.size(), loaded->linears.size());
    for (size_t i = 0; i < loaded->linears.size(); ++i) {
      EXPECT_EQ(in_place->linears[i].name, loaded->linears[i].name);
      EXPECT_TRUE(at::equal(in_place->linears[i].weight_OI, loaded->linears[i].weight_OI)) << loaded->linears[i].name;
    }
    EXPECT_EQ(in_place->stages.size(), loaded->stages.size());
    model::Flow a{.hidden_TD = golden.model->embed(ids_of(oracle())[0], 0)}, b{.hidden_TD = a.hidden_TD.clone()};
    in_place->forward(a);
    loaded->forward(b);
    EXPECT_TRUE(at::equal(a.hidden_TD, b.hidden_TD)) << name;
  }
}

TEST(PrunedExperts, NamesShapesAndConfigAreThoseOfFewerExperts) {
  const Golden one_by_one("mixtral"), fused("qwen3_moe_fused");
  PrunedExperts mixtral = one_by_one.pruned(), qwen = fused.pruned();
  const std::string experts = "model.layers.2.block_sparse_moe.experts.";
  EXPECT_EQ(mixtral.shape(experts + "2.w1.weight"), (std::vector<int64_t>{64, 32}));
  EXPECT_TRUE(mixtral.shape(experts + "3.w1.weight").empty());
  EXPECT_EQ(mixtral.shape("model.layers.2.block_sparse_moe.gate.weight"), (std::vector<int64_t>{3, 32}));
  EXPECT_EQ(qwen.shape("model.layers.0.mlp.experts.gate_up_proj"), (std::vector<int64_t>{3, 48, 32}));
  EXPECT_THROW(mixtral.load(experts + "2.w1.weight"), Error);  // not known yet
  EXPECT_THROW(mixtral.load("model.layers.2.block_sparse_moe.gate.weight"), Error);
  EXPECT_THROW(mixtral.keep(2, {0, 1}), Error);
  mixtral.keep(2, {0, 1, 3});
  EXPECT_TRUE(at::equal(mixtral.load(experts + "2.w1.weight"), one_by_one.weights.load(experts + "3.w1.weight")));
  const at::Tensor router = one_by_one.weights.load("model.layers.2.block_sparse_moe.gate.weight");
  EXPECT_TRUE(at::equal(mixtral.load("model.layers.2.block_sparse_moe.gate.weight"),
                        at::stack({router[0], router[1], router[3]})));
  EXPECT_EQ(config_of_pruned(one_by_one.reader.config(), mixtral).at("num_local_experts").as_int(), 3);
  EXPECT_EQ(mixtral.layer_name(*one_by_one.model->mixture(2)), "model.layers.2.block_sparse_moe");
}

void expect_refused(const std::string& model, const std::string& fields, ErrorKind kind, const char* part) {
  const Golden golden(model, fields);
  try {
    golden.pruned();
    ADD_FAILURE() << fields;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    EXPECT_THAT(e.what(), HasSubstr(part));
  }
}

TEST(PrunedExperts, WhatCannotBeIsRefused) {
  expect_refused("llama32_tied", R"({"sparsity": 0.5})", ErrorKind::InvalidArgument,
                 "REAPPruningModifier: this model has no experts to prune");
  expect_refused("mixtral", R"({"sparsity": 0.2})", ErrorKind::InvalidArgument,
                 "sparsity takes none of 4 experts; one goes from 0.25 on");
  expect_refused("mixtral", R"({"sparsity": 0.75})", ErrorKind::InvalidArgument,
                 "leaves 1 of 4 experts, but the router sends each token to 2; at most 0.5");
  expect_refused("mixtral", R"({"sparsity": 0.5, "ignore": ["layers.[01]"]})", ErrorKind::Unsupported,
                 "ignore leaves model.layers.1.block_sparse_moe alone and not model.layers.2.block_sparse_moe, but "
                 "config.json has one number of experts for all layers");
  expect_refused("mixtral", R"({"sparsity": 0.5, "ignore": ["block_sparse_moe$"]})", ErrorKind::InvalidArgument,
                 "ignore leaves no experts to prune");
  const std::vector<std::string> said =
      Golden("mixtral", R"({"sparsity": 0.5, "ignore": ["re:lm_haed"]})").pruned().warnings();
  EXPECT_EQ(said, std::vector<std::string>{"REAPPruningModifier: ignore matches no module of this model: re:lm_haed"});
  Golden("mixtral", R"({"sparsity": 0.5, "ignore": ["lm_head"]})").pruned();  // matches, and holds nothing back
  EXPECT_THROW(check_prunable({"model.layers.0.mlp.gate_proj"}, "folder"), Error);
  check_prunable({}, "folder");
}

}  // namespace
}  // namespace swage::pipeline
