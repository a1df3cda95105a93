// Models that run on their stored codes: what they say is what the same models in float32 say.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "swage/checkpoint/reader.h"
#include "swage/eval/perplexity.h"
#include "swage/format/weight_source.h"
#include "swage/model/model.h"

namespace swage::eval {
namespace {

namespace fs = std::filesystem;
using format::KeptForm;

struct Outcome {
  double perplexity;
  int64_t packed = 0, linears = 0;  // of the blocks
};

Outcome outcome_of(const std::string& name, KeptForm kept, bool weights_only = false) {
  const checkpoint::Reader reader(fs::path(SWAGE_TEST_DATA) / "format/checkpoints" / name);
  const format::CheckpointWeights weights(reader, at::kCPU, {.weights_only = weights_only, .kept = kept});
  const auto model = model::make_model(reader.config(), weights);
  at::manual_seed(1);
  const at::Tensor ids_NL = at::randint(0, model->vocabulary_size(), {4, 24}, at::kLong);
  Outcome out{perplexity(*model, weights, ids_NL, Context(), {}).perplexity()};
  for (int64_t b = 0; b < model->blocks(); ++b) {
    const auto block = model->load_block(b, weights);
    for (const model::Linear& linear : block->linears) {
      ++out.linears;
      out.packed += linear.packed != nullptr;
    }
  }
  return out;
}

// Activations are near exact, so that the perplexity is equal to 1e-5; embedding and head, of the second form, stay as
// they are in the file.
TEST(PackedModel, HasThePerplexityOfFloats) {
  for (const char* name : {"w4a16-sharded", "w4a16_asym"}) {
    const Outcome floats = outcome_of(name, KeptForm::Floats);
    EXPECT_EQ(floats.packed, 0);
    for (const KeptForm kept : {KeptForm::Codes, KeptForm::All}) {
      const Outcome packed = outcome_of(name, kept);
      EXPECT_NEAR(packed.perplexity, floats.perplexity, 1e-5 * floats.perplexity) << name;
      EXPECT_EQ(packed.packed, packed.linears) << name;
    }
  }
}

// FP4 by its table, with scales that are powers of two or FP8 under a global one. Activations are quantized in these
// files too; a value between two codes may then go to the other one, a quarter of it away, which moves a model of one
// layer by more than a thousandth.
TEST(PackedModel, HasThePerplexityOfFloatsWithWeightsOfFp4) {
  for (const char* name : {"mxfp4", "nvfp4"}) {
    for (const bool weights_only : {true, false}) {
      const Outcome floats = outcome_of(name, KeptForm::Floats, weights_only),
                    packed = outcome_of(name, KeptForm::Codes, weights_only);
      EXPECT_NEAR(packed.perplexity, floats.perplexity, (weights_only ? 1e-5 : 1e-2) * floats.perplexity) << name;
      EXPECT_EQ(packed.packed, packed.linears) << name;
    }
  }
}

}  // namespace
}  // namespace swage::eval
