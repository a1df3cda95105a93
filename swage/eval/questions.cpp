#include "swage/eval/questions.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "swage/base/error.h"

namespace swage::eval {
namespace {

// splitmix64 (Steele, Lea, Flood 2014): the same places on every machine.
uint64_t next(uint64_t& state) {
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// `count` of the places [first, end), ascending.
std::vector<int64_t> chosen(int64_t first, int64_t end, int64_t count, uint64_t& state) {
  std::vector<int64_t> places(size_t(end - first));
  std::iota(places.begin(), places.end(), first);
  for (size_t i = 0; i < size_t(count); ++i) std::swap(places[i], places[i + next(state) % (places.size() - i)]);
  places.resize(size_t(count));
  std::sort(places.begin(), places.end());
  return places;
}

Questions masked(const at::Tensor& windows_NL, const Masking& masking) {
  SWAGE_CHECK(masking.token >= 0, Unsupported,
              "perplexity of a masked language model needs its mask token, which the tokenizer's files do not name "
              "(\"mask_token\" in tokenizer_config.json)");
  const int64_t first = masking.prefix, end = windows_NL.size(1) - masking.suffix;
  SWAGE_CHECK(end > first, InvalidArgument, "perplexity: windows of ", windows_NL.size(1), " tokens hold no text");
  const int64_t count = std::max<int64_t>(1, std::llround(masking.share * double(end - first)));
  Questions out{windows_NL.clone(), at::empty({windows_NL.size(0), count}, at::kLong), {}};
  uint64_t state = masking.seed;
  int64_t* place = out.places_NP.mutable_data_ptr<int64_t>();
  for (int64_t window = 0; window < windows_NL.size(0); ++window)
    place = std::ranges::copy(chosen(first, end, count, state), place).out;
  out.answers_NP = windows_NL.gather(1, out.places_NP);
  out.ids_NL.scatter_(1, out.places_NP, masking.token);
  return out;
}

}  // namespace

Questions questions_of(const graph::ModelProgram& model, const at::Tensor& windows_NL, const Masking& masking) {
  SWAGE_CHECK(windows_NL.dim() == 2 && windows_NL.size(1) >= 2, InvalidArgument,
              "perplexity: windows need at least 2 tokens");
  SWAGE_CHECK(!model.target, Unsupported,
              "perplexity of encoder-decoder models is not supported: --token-ids with "
              "--save-logits runs them");
  SWAGE_CHECK(
      model.predicts == graph::Predicts::Next || model.predicts == graph::Predicts::Masked, Unsupported,
      "the model predicts no tokens, so that it has no perplexity: ",
      model.predicts == graph::Predicts::Nothing ? "it is an encoder without a head" : "its head tells replaced tokens",
      "; --token-ids with --save-hidden or --save-logits runs it");
  if (model.predicts == graph::Predicts::Masked) return masked(windows_NL, masking);
  const int64_t asked = windows_NL.size(1) - 1;
  return {windows_NL, at::arange(asked, at::kLong).expand({windows_NL.size(0), asked}), windows_NL.narrow(1, 1, asked)};
}

at::Tensor rows_asked(const at::Tensor& hidden_LD, const at::Tensor& places_P, int64_t first, int64_t count) {
  const at::Tensor places_C = places_P.narrow(0, first, count);
  const int64_t begin = places_C[0].item<int64_t>();
  const bool run = places_C[count - 1].item<int64_t>() - begin == count - 1;  // they ascend
  return run ? hidden_LD.narrow(0, begin, count) : hidden_LD.index_select(0, places_C.to(hidden_LD.device()));
}

}  // namespace swage::eval
