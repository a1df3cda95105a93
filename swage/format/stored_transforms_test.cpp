#include "swage/format/stored_transforms.h"

#include <ATen/ATen.h>

#include <cmath>

#include "swage/format/checkpoint_test_support.h"
#include "swage/format/weight_source.h"

namespace swage::format {
namespace {

using scheme::TransformLocation;

// A checkpoint of these tensors with one group, "v".
struct StoredTransforms {
  StoredTransforms(const std::string& group, const golden::Tensors& tensors) {
    Json config = Json::object();
    config.set("quantization_config",
               parse_json(cat(R"({"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"v": )",
                              group, "}}}"),
                          "test"));
    write_checkpoint(folder.path(), config, tensors);
    reader.emplace(folder.path());
    weights.emplace(*reader);
  }
  at::Tensor matrix(const std::string& module, int64_t columns,
                    TransformLocation location = TransformLocation::Input) const {
    return weights->transform({module}, location, columns)->matrix();
  }
  Folder folder;
  std::optional<checkpoint::Reader> reader;
  std::optional<CheckpointWeights> weights;
};

constexpr const char* kInput =
    R"({"type": "random-hadamard", "apply": [{"targets": ["Linear"], "location": "input", "ignore": ["lm_head"]}]})";

at::Tensor signs(int64_t n, uint64_t seed) {
  at::manual_seed(seed);
  return at::randint(0, 2, {n, n}).mul(2).sub(1).to(at::kFloat);
}

TEST(StoredTransforms, OneMatrixServesAllModulesOfItsSize) {
  const at::Tensor four = signs(4, 1), six = signs(6, 2);
  const StoredTransforms made(kInput, {{"a.q_proj.v_input.weight", four.to(at::kDouble)},
                                       {"a.down_proj.v_input.weight", six},
                                       {"a.q_proj.weight", at::ones({2, 4})}});
  EXPECT_TRUE(made.weights->has_transforms());
  EXPECT_TRUE(made.matrix("a.q_proj", 4).allclose(four / 2, 0, 1e-7));
  EXPECT_TRUE(made.matrix("b.o_proj", 4).equal(made.matrix("a.q_proj", 4)));
  EXPECT_TRUE(made.matrix("b.down_proj", 6).allclose(six / std::sqrt(6.0), 0, 1e-7));
  EXPECT_EQ(made.weights->transform({"b.o_proj"}, TransformLocation::Input, 4),
            made.weights->transform({"a.q_proj"}, TransformLocation::Input, 4));  // read once
  EXPECT_EQ(made.weights->transform({"lm_head"}, TransformLocation::Input, 4), nullptr);
  EXPECT_EQ(made.weights->transform({"a.q_proj"}, TransformLocation::Output, 2), nullptr);
}

TEST(StoredTransforms, InversesAreTransposesOrStored) {
  const at::Tensor any = at::rand({4, 4}), inverse = at::linalg_inv(any), h = signs(4, 3);
  const char* const both =
      R"({"type": "random-matrix", "apply": [{"targets": ["Linear"], "location": "input"}, {"targets": ["Linear"], "location": "output", "inverse": true}]})";
  const StoredTransforms matrices(both, {{"a.v_input.weight", any}, {"a.v_output.weight", inverse}});
  EXPECT_TRUE(matrices.matrix("b", 4).equal(any));
  EXPECT_TRUE(matrices.matrix("b", 4, TransformLocation::Output).equal(inverse));
  const StoredTransforms signed_ones(
      R"({"type": "hadamard", "apply": [{"targets": ["Linear"], "location": "output", "inverse": true}]})",
      {{"a.v_output.weight", h}});
  EXPECT_TRUE(signed_ones.matrix("a", 4, TransformLocation::Output).allclose(h.t() / 2, 0, 1e-7));
}

TEST(StoredTransforms, RowsAndColumnsCanBePermuted) {
  const at::Tensor h = signs(6, 4), order = at::tensor({3, 1, 5, 0, 2, 4}, at::kLong);
  const char* const group =
      R"({"type": "random-hadamard", "randomize": true, "head_dim": 6, "apply": [{"targets": ["Linear"], "location": "input"}]})";
  const StoredTransforms made(group, {{"a.v_input.weight", h}, {"a.v_input.perm", order}});
  const at::Tensor matrix = made.matrix("a", 12);
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < 6; ++j)
      EXPECT_NEAR(matrix[i][j].item<double>(),
                  h[order[i].item<int64_t>()][order[j].item<int64_t>()].item<double>() / std::sqrt(6.0), 1e-7);
  }
}

TEST(StoredTransforms, AttentionIsFoundByAnyOfItsClasses) {
  const at::Tensor h = signs(4, 5);
  const StoredTransforms made(
      R"({"type": "hadamard", "head_dim": 4, "apply": [{"targets": ["LlamaAttention"], "location": "q_attn"}]})",
      {{"a.self_attn.v_q_attn.weight", h}});
  const auto found = made.weights->transform({"b.self_attn", "Attention"}, TransformLocation::Queries, 4);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->matrix().allclose(h / 2, 0, 1e-7));
  EXPECT_EQ(made.weights->transform({"b.self_attn", "Attention"}, TransformLocation::KeyCache, 4), nullptr);
}

TEST(StoredTransforms, WhatIsInTheWeightsAsksNothingOfAReader) {
  const StoredTransforms made(R"({"type": "hadamard", "apply": [{"targets": ["Linear"], "location": "weight_input"}]})",
                              {{"a.weight", at::ones({2, 4})}});
  EXPECT_FALSE(made.weights->has_transforms());
  EXPECT_EQ(made.weights->transform({"a"}, TransformLocation::Input, 4), nullptr);
}

TEST(StoredTransforms, WhatIsBrokenIsNamed) {
  const auto expect = [](const char* group, const golden::Tensors& tensors, const char* part) {
    const StoredTransforms made(group, tensors);
    expect_error(ErrorKind::CorruptData, part, [&] { made.matrix("a", 6); });
  };
  const char* const randomized =
      R"({"type": "hadamard", "randomize": true, "apply": [{"targets": ["Linear"], "location": "input"}]})";
  const at::Tensor six = signs(6, 6);
  expect(kInput, {{"a.weight", at::ones({2, 6})}},
         "a.v_input: its matrix [6, 6] is not stored, neither there nor under another module");
  expect(kInput, {{"a.v_input.weight", at::ones({4, 4})}}, "a.v_input.weight: expected floats [6, 6], found [4, 4]");
  expect(kInput, {{"a.v_input.weight", at::ones({6, 6}, at::kInt)}}, "a.v_input.weight: expected floats [6, 6]");
  expect(R"({"type": "hadamard", "head_dim": 4, "apply": [{"targets": ["Linear"], "location": "input"}]})",
         {{"a.v_input.weight", at::ones({4, 4})}}, "v: head_dim 4 does not divide the 6 columns of a");
  expect(randomized, {{"a.v_input.weight", six}}, "a.v_input.perm: is not stored, though the transform is randomized");
  expect(randomized, {{"a.v_input.weight", six}, {"a.v_input.perm", at::zeros({6}, at::kLong)}},
         "a.v_input.perm: expected the numbers below 6 in some order");
  at::Tensor infinite = six.clone();
  infinite[0][0].fill_(std::numeric_limits<float>::infinity());
  const StoredTransforms made(kInput, {{"a.v_input.weight", infinite}});
  expect_error(ErrorKind::Numerical, "a.v_input.weight: ", [&] { made.matrix("a", 6); });
}

// compressed-tensors' own vector: a linear before and after transforms of its input (online) and output, both kinds of
// Hadamard matrices.
TEST(StoredTransforms, MeetCompressedTensors) {
  const golden::Tensors tensors =
      golden::read_safetensors(golden::roots().front() / "ct-0.20.0" / "transform_hadamard.safetensors");
  for (const std::string type : {"hadamard", "random_hadamard"}) {
    const auto stored = [&](const std::string& name) { return tensors.at(cat(type, ".", name)); };
    const ops::Transform input = ops::Transform::of_matrix(stored("after.a.R_input.weight"), 1.0 / 8);
    EXPECT_TRUE(input.is_factored());
    // Their f64 products, rounded once; ours of f32 factors: sums of 64 products of numbers of at most 4.
    const at::Tensor turned_OI = input.columns(stored("before.a.weight"));
    if (type == "hadamard") {  // the other's output matrix is stored nowhere
      const ops::Transform output =
          ops::Transform::of_matrix(stored("after.a.R_input.weight").narrow(0, 0, 16).narrow(1, 0, 16), 0.25);
      EXPECT_TRUE(output.rows(turned_OI).allclose(stored("after.a.weight"), 0, 64 * 4 * 0x1p-23));
      EXPECT_TRUE(output.columns(stored("before.a.bias")).allclose(stored("after.a.bias"), 0, 64 * 4 * 0x1p-23));
      continue;
    }
    // An orthogonal matrix from the left leaves the Gram matrix of the columns.
    const at::Tensor after_OI = stored("after.a.weight");
    EXPECT_TRUE(at::mm(turned_OI.t(), turned_OI).allclose(at::mm(after_OI.t(), after_OI), 0, 32 * 16 * 64 * 0x1p-23));
  }
}

}  // namespace
}  // namespace swage::format
