#include "swage/model/kv_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage::model {
namespace {

graph::ModelProgram hybrid() {
  graph::ModelProgram model;
  graph::BlockProgram block;
  block.values = {{"x", 8}, {"v", 6}};
  graph::AttentionNode attention;
  attention.kv_heads = 2, attention.head_size = 4, attention.value_size = 3;
  block.nodes = {
      graph::ConvolutionNode{
          .in = 1, .out = 1, .parts = {}, .kernel = 4, .bias = false, .activation = graph::Activation::Identity},
      attention, graph::RecurrenceNode{.heads = 2, .key_heads = 2, .key_size = 5, .value_size = 3}};
  model.blocks = {block, block};
  return model;
}

TEST(CacheLayout, HasAPlaceForEachLayersKeysValuesAndStates) {
  const CacheLayout layout = cache_layout(hybrid(), kernels::CacheFormat::BF16);
  const int64_t attention = 2 * 16 * 2 * (4 + 3), states = 4 * (3 * 6 + 2 * 5 * 3);
  EXPECT_EQ(layout.block_bytes, 2 * attention);
  EXPECT_EQ(layout.state_bytes, 2 * states);
  EXPECT_EQ(layout.layers[1].pages(1).offset, attention);
  EXPECT_EQ(layout.layers[1].state(2).offset, states + 4 * 3 * 6);
  EXPECT_THROW(layout.layers[0].pages(0), Error);
  EXPECT_THROW(layout.layers[0].state(1), Error);
}

TEST(CacheLayout, CodesTakeAByteAndAScaleForEachTokenAndHead) {
  const CacheLayout layout = cache_layout(hybrid(), kernels::CacheFormat::Int8);
  EXPECT_EQ(layout.block_bytes, 2 * (2 * 16 * (4 + 3) + 2 * 2 * 16 * 4));
  EXPECT_EQ(layout.layers[1].pages(1).offset, layout.block_bytes / 2);
}

TEST(SequenceCache, StatesComeBackOutOfPieces) {
  const CacheLayout layout = cache_layout(hybrid(), kernels::CacheFormat::F32);
  SequenceCache cache;
  cache.piece_bytes = 40;
  std::vector<std::vector<std::byte>> pieces(size_t(layout.state_bytes / 40 + 1), std::vector<std::byte>(40));
  for (auto& piece : pieces) cache.state.push_back(piece.data());
  at::manual_seed(1);
  const at::Tensor a = at::randn({3, 6}), b = at::randn({2, 5, 3});
  cache.write(layout.layers[1].state(0), a);
  cache.write(layout.layers[1].state(2), b);
  EXPECT_TRUE(at::equal(cache.read(layout.layers[1].state(0)), a));
  EXPECT_TRUE(at::equal(cache.read(layout.layers[1].state(2)), b));
  EXPECT_THROW(cache.write(layout.layers[1].state(0), b), Error);
}

}  // namespace
}  // namespace swage::model
