#include "swage/data/drawn_windows.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>
#include <set>

#include "swage/base/error.h"

namespace swage::data {
namespace {

constexpr size_t kState = 624, kShift = 397;  // of MT19937, as all constants below

uint32_t mixed(uint32_t before, uint32_t factor) { return (before ^ (before >> 30)) * factor; }

// Draws documents until one is long enough, as optimum does, but gives up where none is.
class LongDocuments {
 public:
  LongDocuments(const Documents& documents, const Tokenizer& tokenizer, size_t length)
      : documents_(documents),
        tokenizer_(tokenizer),
        length_(length) {}

  const std::vector<int64_t>& draw(PythonRandom& random, CalibrationSet& set) {
    const size_t count = documents_.texts.size();
    while (short_.size() < count) {
      const size_t i = random.up_to(uint32_t(count - 1));
      if (short_.contains(i)) continue;
      ids_ = tokenizer_.encode(documents_.texts[i], !documents_.formatted);
      if (ids_.size() >= length_) {
        set.documents_used += used_.insert(i).second ? 1 : 0;
        return ids_;
      }
      short_.insert(i);
      ++set.documents_skipped;
    }
    throw Error(ErrorKind::InvalidArgument, cat("none of the ", count, " documents has the ", length_,
                                                " tokens of one row; use a smaller --max-seq-length"));
  }

 private:
  const Documents& documents_;
  const Tokenizer& tokenizer_;
  size_t length_;
  std::set<size_t> short_, used_;
  std::vector<int64_t> ids_;
};

}  // namespace

PythonRandom::PythonRandom(uint64_t seed) : at_(kState) {
  const std::array<uint32_t, 2> key = {uint32_t(seed), uint32_t(seed >> 32)};
  const size_t words = key[1] == 0 ? 1 : 2;
  state_[0] = 19650218;
  for (size_t i = 1; i < kState; ++i) state_[i] = mixed(state_[i - 1], 1812433253) + uint32_t(i);
  size_t i = 1;
  const auto step = [&] {
    if (++i < kState) return;
    state_[0] = state_[kState - 1];
    i = 1;
  };
  for (size_t k = 0; k < kState; ++k) {
    state_[i] = (state_[i] ^ mixed(state_[i - 1], 1664525)) + key[k % words] + uint32_t(k % words);
    step();
  }
  for (size_t k = 1; k < kState; ++k) {
    state_[i] = (state_[i] ^ mixed(state_[i - 1], 1566083941)) - uint32_t(i);
    step();
  }
  state_[0] = 0x80000000;
}

uint32_t PythonRandom::next() {
  if (at_ == kState) {
    for (size_t i = 0; i < kState; ++i) {
      const uint32_t pair = (state_[i] & 0x80000000) | (state_[(i + 1) % kState] & 0x7FFFFFFF);
      state_[i] = state_[(i + kShift) % kState] ^ (pair >> 1) ^ ((pair & 1) != 0 ? 0x9908B0DF : 0);
    }
    at_ = 0;
  }
  uint32_t y = state_[at_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9D2C5680;
  y ^= (y << 15) & 0xEFC60000;
  return y ^ (y >> 18);
}

uint32_t PythonRandom::up_to(uint32_t most) {
  const uint32_t count = most + 1;
  const int bits = std::bit_width(count);
  uint32_t drawn = next() >> (32 - bits);
  while (drawn >= count) drawn = next() >> (32 - bits);
  return drawn;
}

CalibrationSet drawn_windows(const Documents& documents, const Tokenizer& tokenizer, const BatchOptions& options) {
  const auto length = size_t(options.max_seq_length);
  PythonRandom random(options.seed);
  LongDocuments drawn(documents, tokenizer, length);
  CalibrationSet set;
  std::vector<int64_t> whole;
  if (documents.draw == Draw::Places) {
    whole = tokenizer.encode(documents.texts[0], !documents.formatted);
    SWAGE_CHECK(whole.size() > length, InvalidArgument, "the text holds ", whole.size(), " tokens, no more than the ",
                length, " of one row; use a smaller --max-seq-length");
    set.documents_used = 1;
  }
  set.ids_NL = at::empty({options.num_samples, options.max_seq_length}, at::kLong);
  for (int64_t row = 0; row < options.num_samples; ++row) {
    const std::vector<int64_t>& ids = documents.draw == Draw::Places ? whole : drawn.draw(random, set);
    // A document of just one row is where optimum ends with an error of Python's.
    const size_t from = ids.size() > length ? random.up_to(uint32_t(ids.size() - length - 1)) : 0;
    std::copy_n(ids.begin() + ptrdiff_t(from), length, set.ids_NL.mutable_data_ptr<int64_t>() + size_t(row) * length);
  }
  return set;
}

}  // namespace swage::data
