// Windows at random places of a text, drawn as optimum draws its data sets (optimum/gptq/data.py): by Python's
// generator.
#pragma once
#include <array>
#include <cstdint>

#include "swage/data/dataset.h"

namespace swage::data {

// random.Random(seed) of Python: Mersenne Twister (Matsumoto and Nishimura 1998), seeded by the words of the number.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);
  // random.randint(0, most); most < 2^32 - 1
  uint32_t up_to(uint32_t most);

 private:
  uint32_t next();  // 32 bits

  std::array<uint32_t, 624> state_;
  size_t at_;
};

// Rows [num_samples, max_seq_length] of documents.draw, which is not Draw::None: the ids of optimum with the same seed.
// Error(InvalidArgument) when no document has more tokens than a row.
CalibrationSet drawn_windows(const Documents& documents, const Tokenizer& tokenizer, const BatchOptions& options);

}  // namespace swage::data
