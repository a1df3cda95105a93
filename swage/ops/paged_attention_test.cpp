#include "swage/ops/paged_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "swage/base/error.h"
#include "swage/ops/attention.h"
#include "swage/ops/relative_error_test_support.h"

namespace swage::ops {
namespace {

// A sequence's blocks; NaN wherever nothing was stored.
struct Memory {
  Memory(const PagedLayer& layer, int64_t tokens) {
    for (int64_t at = 0; at < tokens; at += kBlockTokens) {
      owned.emplace_back(size_t(layer.offset + layer.bytes()), std::byte{0xFF});
      blocks.push_back(owned.back().data());
    }
  }
  std::vector<std::vector<std::byte>> owned;
  std::vector<std::byte*> blocks;
};

constexpr PagedLayer kLayer{.groups = 2, .key_size = 8, .value_size = 20, .offset = 64};

struct Form {
  const char* name;
  int64_t window, chunk;
  double softcap;
  bool slopes, sinks;
};

class PagedAttention : public testing::TestWithParam<Form> {};

// The tested definition, ops::attend, chunk by chunk.
at::Tensor defined(const at::Tensor& q_THE, const at::Tensor& k_TGE, const at::Tensor& v_TGV, const PagedForm& form) {
  const AttentionForm same{form.scale, form.window, form.softcap, form.slopes_H, form.sinks_H, true, {}};
  const int64_t tokens = q_THE.size(0), chunk = form.chunk > 0 ? form.chunk : tokens;
  std::vector<at::Tensor> out;
  for (int64_t first = 0; first < tokens; first += chunk) {
    const int64_t count = std::min(chunk, tokens - first);
    out.push_back(attend(q_THE.narrow(0, first, count), k_TGE.narrow(0, first, count).transpose(0, 1),
                         v_TGV.narrow(0, first, count).transpose(0, 1), same));
  }
  return at::cat(out);
}

TEST_P(PagedAttention, IsTheDefinitionInAnyCut) {
  const Form& given = GetParam();
  at::manual_seed(3);
  const int64_t tokens = 70;
  const at::Tensor q = at::randn({tokens, 6, 8}), k = at::randn({tokens, 2, 8}), v = at::randn({tokens, 2, 20});
  const PagedForm form{0.35,
                       given.window,
                       given.chunk,
                       given.softcap,
                       given.slopes ? alibi_slopes(6) : at::Tensor(),
                       given.sinks ? at::randn({6}) : at::Tensor()};
  const at::Tensor expected = defined(q, k, v, form);
  Memory memory(kLayer, tokens);
  store_tokens(kLayer, memory.blocks, 0, k, v);
  const std::vector<PagedQueries> whole = {{memory.blocks, 0, tokens, 0}};
  const at::Tensor out = attend_paged(kLayer, whole, q, form);
  EXPECT_LE(relative_error(out, expected), 1e-5);
  Memory in_pieces(kLayer, tokens);
  int64_t position = 0;
  for (const int64_t count : {1, 20, 31, 18}) {
    store_tokens(kLayer, in_pieces.blocks, position, k.narrow(0, position, count), v.narrow(0, position, count));
    const std::vector<PagedQueries> both = {{memory.blocks, 0, 3, 17}, {in_pieces.blocks, 3, count, position}};
    const at::Tensor part =
        attend_paged(kLayer, both, at::cat({q.narrow(0, 17, 3), q.narrow(0, position, count)}), form);
    EXPECT_TRUE(at::equal(part.narrow(0, 0, 3), out.narrow(0, 17, 3)));
    EXPECT_TRUE(at::equal(part.narrow(0, 3, count), out.narrow(0, position, count))) << position;
    position += count;
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, PagedAttention,
                         testing::Values(Form{"plain", 0, 0, 0, false, false}, Form{"window", 21, 0, 0, false, false},
                                         Form{"chunk", 0, 24, 0, false, false}, Form{"softcap", 0, 0, 2, false, false},
                                         Form{"slopes", 0, 0, 0, true, false}, Form{"sinks", 33, 0, 0, false, true}),
                         [](const auto& info) { return info.param.name; });

// Stored numbers are rounded to the format: 2^-9 and 2^-12 of themselves, and so is what is mixed of them, about.
TEST(PagedAttentionFormats, RoundKeysAndValues) {
  at::manual_seed(4);
  const at::Tensor q = at::randn({20, 4, 8}), k = at::randn({20, 2, 8}), v = at::randn({20, 2, 20});
  for (const auto& [format, type, tolerance] : {std::tuple(kernels::CacheFormat::BF16, at::kBFloat16, 0.02),
                                                std::tuple(kernels::CacheFormat::F16, at::kHalf, 0.003)}) {
    PagedLayer layer = kLayer;
    layer.format = format;
    Memory memory(layer, 20);
    store_tokens(layer, memory.blocks, 0, k, v);
    const std::vector<PagedQueries> all = {{memory.blocks, 0, 20, 0}};
    const at::Tensor out = attend_paged(layer, all, q, {0.35});
    EXPECT_LE(relative_error(out, defined(q, k, v, {0.35})), tolerance);
    EXPECT_LE(relative_error(out, defined(q, k.to(type).to(at::kFloat), v.to(type).to(at::kFloat), {0.35})), 1e-5);
  }
}

// Codes of each token's and head's own scale. An int8 code is off by up to 1/254 of the largest number of its head
// (some 2 to 3 times as large as the others' mean square), an FP8 number by up to 1/16 of itself.
TEST(PagedAttentionFormats, CodesHaveAScaleForEachTokenAndHead) {
  at::manual_seed(4);
  const at::Tensor q = at::randn({37, 4, 8}), k = at::randn({37, 2, 8}) * at::rand({37, 2, 1}) * 100,
                   v = at::randn({37, 2, 20});
  for (const auto& [format, most, tolerance] :
       {std::tuple(kernels::CacheFormat::Int8, 127.0, 0.03), std::tuple(kernels::CacheFormat::E4M3, 448.0, 0.15)}) {
    const auto rounded = [&, format = format, most = most](const at::Tensor& x) {
      const at::Tensor scale = x.abs().amax(-1, true) / most, codes = x * scale.reciprocal();
      return format == kernels::CacheFormat::Int8 ? at::round(codes) * scale
                                                  : codes.to(at::kFloat8_e4m3fn).to(at::kFloat) * scale;
    };
    PagedLayer layer = kLayer;
    layer.format = format;
    Memory memory(layer, 37);
    store_tokens(layer, memory.blocks, 0, k, v);
    const std::vector<PagedQueries> all = {{memory.blocks, 0, 37, 0}};
    const PagedForm form{0.005};
    const at::Tensor out = attend_paged(layer, all, q, form);
    EXPECT_LE(relative_error(out, defined(q, rounded(k), rounded(v), form)), 1e-5);
    EXPECT_LE(relative_error(out, defined(q, k, v, form)), tolerance);
  }
}

// Numbers that a checkpoint's scales have rounded already stay as they are.
TEST(PagedAttentionFormats, ScalesOfACheckpointKeepItsNumbers) {
  at::manual_seed(6);
  const at::Tensor q = at::randn({20, 4, 8}), scale_G = at::tensor({0.03f, 0.4f});
  const at::Tensor k = at::randint(-128, 128, {20, 2, 8}).to(at::kFloat) * scale_G.view({1, 2, 1}),
                   v = at::randint(-128, 128, {20, 2, 20}).to(at::kFloat) * scale_G.view({1, 2, 1});
  PagedLayer layer = kLayer;
  layer.format = kernels::CacheFormat::Int8;
  Memory memory(layer, 20);
  store_tokens(layer, memory.blocks, 0, k, v, {}, {scale_G, scale_G});
  const std::vector<PagedQueries> all = {{memory.blocks, 0, 20, 0}};
  EXPECT_LE(relative_error(attend_paged(layer, all, q, {0.01}), defined(q, k, v, {0.01})), 1e-5);
}

TEST(PagedAttentionFormats, TokensOfZerosAreZeros) {
  PagedLayer layer = kLayer;
  layer.format = kernels::CacheFormat::E4M3;
  Memory memory(layer, 3);
  store_tokens(layer, memory.blocks, 0, at::zeros({3, 2, 8}), at::zeros({3, 2, 20}));
  const std::vector<PagedQueries> all = {{memory.blocks, 0, 3, 0}};
  EXPECT_TRUE(at::equal(attend_paged(layer, all, at::ones({3, 4, 8}), {1}), at::zeros({3, 80})));
}

TEST(PagedAttentionChosen, AreTheKeysOfTheLargestScores) {
  at::manual_seed(5);
  PagedLayer layer = kLayer;
  layer.index_size = 4;
  const int64_t tokens = 40, count = 7;
  const at::Tensor k = at::randn({tokens, 2, 8}), v = at::randn({tokens, 2, 20}), index = at::randn({tokens, 4});
  const at::Tensor query = at::randn({tokens, 3, 4}), weights = at::rand({tokens, 3});
  Memory memory(layer, tokens);
  store_tokens(layer, memory.blocks, 0, k, v, index);
  const PagedQueries queries{memory.blocks, 0, tokens, 0};
  EXPECT_TRUE(chosen_keys(layer, queries, query, weights, tokens).empty());
  const std::vector<uint8_t> chosen = chosen_keys(layer, queries, query, weights, count);
  const at::Tensor scores = (at::einsum("tie,se->tis", {query, index}).relu() * weights.unsqueeze(-1)).sum(1);
  for (int64_t t = 0; t < tokens; ++t) {
    const at::Tensor seen = scores[t].narrow(0, 0, t + 1);
    const double least = std::get<0>(at::topk(seen, std::min(count, t + 1))).min().item<double>();
    int64_t kept = 0;
    for (int64_t s = 0; s < tokens; ++s) {
      const bool is_chosen = chosen[size_t(t * tokens + s)] != 0;
      kept += is_chosen;
      EXPECT_FALSE(is_chosen && s > t);
      if (is_chosen) {
        EXPECT_GE(seen[s].item<double>(), least - 1e-5);
      }
    }
    EXPECT_EQ(kept, std::min(count, t + 1));
  }
  PagedQueries last{memory.blocks, 0, 3, tokens - 3};
  last.chosen = chosen_keys(layer, last, query.narrow(0, tokens - 3, 3), weights.narrow(0, tokens - 3, 3), count);
  EXPECT_TRUE(std::equal(last.chosen.begin(), last.chosen.end(), chosen.end() - 3 * tokens));
}

TEST(PagedAttentionBlocks, TooFewAreRefused) {
  Memory memory(kLayer, 16);
  EXPECT_THROW(store_tokens(kLayer, memory.blocks, 15, at::randn({2, 2, 8}), at::randn({2, 2, 20})), Error);
}

}  // namespace
}  // namespace swage::ops
