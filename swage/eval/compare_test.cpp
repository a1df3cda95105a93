// A model against itself and against its rounded self, the latter computed from logits in one piece.
#include "swage/eval/compare.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "swage/base/error.h"
#include "swage/checkpoint/reader.h"
#include "swage/eval/forward.h"
#include "swage/format/weight_source.h"
#include "swage/model/model.h"

namespace swage::eval {
namespace {

// The weights of a source in fewer bits.
class Rounded : public checkpoint::WeightSource {
 public:
  explicit Rounded(const checkpoint::WeightSource& source) : source_(source) {}
  std::vector<int64_t> shape(const std::string& name) const override { return source_.shape(name); }
  at::Tensor load(const std::string& name) const override {
    return source_.load(name).to(at::kFloat8_e4m3fn).to(at::kFloat);
  }
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string&) const override { return {}; }
  void prefetch(const std::vector<std::string>&) const override {}

 private:
  const checkpoint::WeightSource& source_;
};

struct Opened {
  checkpoint::Reader reader{std::filesystem::path(SWAGE_TEST_DATA) / "model/llama32_tied"};
  format::CheckpointWeights weights{reader};
  std::unique_ptr<model::Model> model = model::make_model(reader.config(), weights);
};

// The streams [N, L, D] behind each block go to `streams`.
at::Tensor log_p(model::Model& model, const checkpoint::WeightSource& weights, const at::Tensor& ids_NL,
                 std::vector<at::Tensor>& streams) {
  model.load_ends(weights);
  std::vector<model::Flow> flows = embed_rows(model, ids_NL);
  std::vector<at::Tensor> out;
  for (int64_t b = 0; b < model.blocks(); ++b) {
    const auto block = model.load_block(b, weights);
    std::vector<at::Tensor> stream;
    for (model::Flow& flow : flows) {
      block->forward(flow);
      stream.push_back(flow.hidden_TD.clone());
    }
    streams.push_back(at::stack(stream));
  }
  for (const model::Flow& flow : flows)
    out.push_back(at::log_softmax(model.logits(flow.hidden_TD).narrow(0, 0, ids_NL.size(1) - 1).to(at::kDouble), -1));
  return at::cat(out);
}

TEST(Compare, AModelEqualsItself) {
  Opened a, b;
  const at::Tensor ids_NL = at::randint(a.model->vocabulary_size(), {3, 70}, at::kLong);
  const Comparison same = compare(*a.model, a.weights, *b.model, b.weights, ids_NL, Context());
  EXPECT_EQ(same.kl_mean, 0);
  EXPECT_EQ(same.kl_p99, 0);
  EXPECT_EQ(same.same_top1, 1);
  EXPECT_EQ(same.block_errors, std::vector<double>(size_t(a.model->blocks()), 0.0));
  EXPECT_EQ(same.model.nll(), same.baseline.nll());
  EXPECT_NEAR(same.model.nll(), perplexity(*a.model, a.weights, ids_NL, Context()).nll(), 1e-6);
}

TEST(Compare, EqualsTheDivergenceOfTheDistributions) {
  Opened a, b;
  const Rounded rounded(b.weights);
  at::manual_seed(2);
  const at::Tensor ids_NL = at::randint(a.model->vocabulary_size(), {5, 70}, at::kLong);
  std::vector<at::Tensor> streams, rounded_streams;
  const at::Tensor p_TV = log_p(*a.model, a.weights, ids_NL, streams),
                   q_TV = log_p(*b.model, rounded, ids_NL, rounded_streams);
  const at::Tensor kl_T = (p_TV.exp() * (p_TV - q_TV)).sum(-1);
  const Comparison found = compare(*a.model, a.weights, *b.model, rounded, ids_NL, Context(), {.windows_at_once = 2});
  EXPECT_GT(found.kl_mean, 1e-6);
  // Sums of f32 terms of size p log p, of both signs: their rounding is 2^-24 of the entropy, a few nats.
  EXPECT_NEAR(found.kl_mean, kl_T.mean().item<double>(), 1e-5);
  EXPECT_NEAR(found.kl_p99, std::get<0>(kl_T.sort())[341].item<double>(), 1e-5);  // ceil(0.99 * 345) - 1
  ASSERT_EQ(found.block_errors.size(), streams.size());
  for (size_t i = 0; i < streams.size(); ++i) {
    const double want = (rounded_streams[i] - streams[i]).norm().item<double>() / streams[i].norm().item<double>();
    EXPECT_NEAR(found.block_errors[i], want, 1e-5 * want);  // norms in f32
  }
  EXPECT_NEAR(found.same_top1, p_TV.argmax(-1).eq(q_TV.argmax(-1)).to(at::kDouble).mean().item<double>(), 0.01);
}

}  // namespace
}  // namespace swage::eval
