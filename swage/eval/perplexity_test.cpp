// Perplexity against the golden logits that transformers gave for the same ids.
#include "swage/eval/perplexity.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "swage/base/error.h"
#include "swage/checkpoint/reader.h"
#include "swage/format/weight_source.h"
#include "swage/io/test_files.h"
#include "swage/model/model.h"

namespace swage::eval {
namespace {

namespace fs = std::filesystem;

struct Golden {
  checkpoint::Reader reader;
  format::CheckpointWeights weights;
  std::unique_ptr<model::Model> model;
  at::Tensor ids_NL, logits_NLV;

  explicit Golden(const fs::path& folder)
      : reader(folder),
        weights(reader),
        model(model::make_model(reader.config(), weights)) {
    // The golden tensors, read as a checkpoint of their own.
    const io::test::TempFolder copy;
    fs::copy_file(folder / "io.safetensors", copy / "model.safetensors");
    fs::copy_file(folder / "config.json", copy / "config.json");
    const checkpoint::Reader io(copy.path());
    ids_NL = io.read("input_ids").to(at::kLong);
    logits_NLV = io.read("logits").to(at::kDouble);
  }
};

TEST(Perplexity, EqualsThatOfTheGoldenLogits) {
  for (const char* name : {"llama32_tied", "opt", "mixtral"}) {
    Golden golden(std::filesystem::path(SWAGE_TEST_DATA) / "model" / name);
    const int64_t predicted = golden.ids_NL.size(1) - 1;
    const at::Tensor log_p = at::log_softmax(golden.logits_NLV.narrow(1, 0, predicted), -1);
    const at::Tensor chosen = log_p.gather(2, golden.ids_NL.narrow(1, 1, predicted).unsqueeze(2));
    for (const int64_t at_once : {1, 16}) {
      const Perplexity found =
          perplexity(*golden.model, golden.weights, golden.ids_NL, Context(), {.windows_at_once = at_once});
      EXPECT_EQ(found.tokens, golden.ids_NL.size(0) * predicted);
      // Logits agree to 1e-4 of the largest, which moves a mean of log probabilities by less than that.
      EXPECT_NEAR(found.nll(), -chosen.mean().item<double>(), 1e-4 * golden.logits_NLV.abs().max().item<double>())
          << name;
    }
  }
}

TEST(Perplexity, RefusesWindowsWithoutAPrediction) {
  Golden golden(std::filesystem::path(SWAGE_TEST_DATA) / "model/opt");
  EXPECT_THROW(perplexity(*golden.model, golden.weights, at::zeros({2, 1}, at::kLong), Context(), {}), Error);
}

// NaN in the weights is found before; an overflow inside the model has to be, too.
TEST(Perplexity, RefusesLogitsThatAreNotFinite) {
  class Exploding : public checkpoint::WeightSource {
   public:
    explicit Exploding(const checkpoint::WeightSource& source) : source_(source) {}
    std::vector<int64_t> shape(const std::string& name) const override { return source_.shape(name); }
    at::Tensor load(const std::string& name) const override {
      return source_.load(name).mul(name.ends_with("norm.weight") ? 1e38 : 1.0);
    }
    std::optional<scheme::QuantizationArgs> input_quantization(const std::string&) const override { return {}; }
    void prefetch(const std::vector<std::string>&) const override {}

   private:
    const checkpoint::WeightSource& source_;
  };
  Golden golden(std::filesystem::path(SWAGE_TEST_DATA) / "model/llama32_tied");
  const Exploding weights(golden.weights);
  try {
    perplexity(*golden.model, weights, golden.ids_NL, Context(), {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Numerical);
    EXPECT_NE(std::string(e.what()).find("not finite"), std::string::npos);
  }
}

}  // namespace
}  // namespace swage::eval
