// Checkpoints whose reader multiplies activations (transform_config), as LLM Compressor's QuIPModifier and
// SpinQuantModifier write them: its own logits of what it stored.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "swage/base/error.h"
#include "swage/checkpoint/reader.h"
#include "swage/format/weight_source.h"
#include "swage/io/test_files.h"
#include "swage/model/cached_sequence_test_support.h"
#include "swage/model/model.h"

namespace swage::eval {
namespace {

namespace fs = std::filesystem;

at::Tensor golden(const fs::path& folder, const std::string& name) {
  const io::test::TempFolder copy;
  fs::copy_file(folder / "io.safetensors", copy / "model.safetensors");
  fs::copy_file(folder / "config.json", copy / "config.json");
  return checkpoint::Reader(copy.path()).read(name);
}

struct Loaded {
  explicit Loaded(const fs::path& folder)
      : reader(folder),
        weights(reader),
        model(model::make_model(reader.config(), weights)) {
    model->load_ends(weights);
    for (int64_t i = 0; i < model->blocks(); ++i) blocks.push_back(model->load_block(i, weights));
  }
  // In pieces of `chunk` tokens, through the cache; 0: at once, without one.
  at::Tensor logits(const at::Tensor& ids_T, int64_t chunk) const {
    model::CachedSequence sequence(*model, ids_T.size(0));
    std::vector<at::Tensor> out;
    for (int64_t first = 0; first < ids_T.size(0); first += chunk == 0 ? ids_T.size(0) : chunk) {
      const int64_t count = chunk == 0 ? ids_T.size(0) : std::min(chunk, ids_T.size(0) - first);
      const at::Tensor next_T = ids_T.narrow(0, first, count);
      if (chunk > 0) {
        out.push_back(model::logits_together(*model, blocks, {{&sequence, next_T}}));
        continue;
      }
      model::Flow flow{.hidden_TD = model->embed(next_T, first), .position = first};
      for (const auto& block : blocks) block->forward(flow);
      out.push_back(model->logits(flow.hidden_TD));
    }
    return at::cat(out);
  }

  checkpoint::Reader reader;
  format::CheckpointWeights weights;
  std::unique_ptr<model::Model> model;
  std::vector<std::unique_ptr<model::Block>> blocks;
};

struct Case {
  const char* name;
  // Relative, of the norm of a row's logits. f32 alone gives less than 1e-6. Where activations have 8 bits, the order
  // of summation decides for values between two codes: one of 24 numbers off by 1/127 of the largest is up to 2e-3.
  // Random matrices have condition numbers of some 1e3.
  double tolerance;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

class OnlineTransforms : public testing::TestWithParam<Case> {};

// Without the transforms, or with them in another order, the logits have nothing in common with these.
TEST_P(OnlineTransforms, LogitsAreTheLibrarysOwn) {
  const fs::path folder = fs::path(SWAGE_TEST_DATA) / "eval/transforms" / GetParam().name;
  const Loaded loaded(folder);
  ASSERT_TRUE(loaded.weights.has_transforms());
  const at::Tensor ids_NT = golden(folder, "input_ids"), logits_NTV = golden(folder, "logits");
  for (int64_t row = 0; row < ids_NT.size(0); ++row) {
    for (const int64_t chunk : {0, 5}) {
      EXPECT_LE((loaded.logits(ids_NT[row], chunk) - logits_NTV[row]).norm().item<double>(),
                GetParam().tolerance * logits_NTV[row].norm().item<double>())
          << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(LlmCompressor, OnlineTransforms,
                         testing::Values(Case{"quip_v", 5e-3}, Case{"quip_vu_block", 1e-5},
                                         Case{"quip_vu_matrix", 2e-3}, Case{"spinquant", 5e-3}));

// Embeddings and routers are not multiplied, and that is said.
TEST(OnlineTransforms, OtherModulesAreRefused) {
  class Everywhere : public checkpoint::WeightSource {
   public:
    Everywhere(const checkpoint::WeightSource& source, std::string class_name)
        : source_(source),
          class_name_(std::move(class_name)) {}
    std::vector<int64_t> shape(const std::string& name) const override { return source_.shape(name); }
    at::Tensor load(const std::string& name) const override { return source_.load(name); }
    std::optional<scheme::QuantizationArgs> input_quantization(const std::string&) const override { return {}; }
    std::shared_ptr<const ops::Transform> transform(const scheme::ModuleName& module, scheme::TransformLocation,
                                                    int64_t columns) const override {
      return module.class_name == class_name_
                 ? std::make_shared<const ops::Transform>(ops::Transform::of_matrix(at::eye(columns), 1))
                 : nullptr;
    }
    void prefetch(const std::vector<std::string>&) const override {}

   private:
    const checkpoint::WeightSource& source_;
    const std::string class_name_;
  };
  const Loaded loaded(fs::path(SWAGE_TEST_DATA) / "model/mixtral");
  const auto expect_refused = [](const char* part, auto call) {
    try {
      call();
      ADD_FAILURE() << part;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
      EXPECT_THAT(e.what(), testing::HasSubstr(part));
    }
  };
  expect_refused("transforms of embeddings while the model runs are not supported",
                 [&] { loaded.model->load_ends(Everywhere(loaded.weights, "Embedding")); });
  expect_refused("transforms of routers are not supported",
                 [&] { loaded.model->load_block(0, Everywhere(loaded.weights, "Router")); });
}

}  // namespace
}  // namespace swage::eval
