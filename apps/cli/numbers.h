// Numbers of the command line: plain decimals within a range. What is none ends in one line that names the option and
// the range, before CLI11, which takes hexadecimal digits and rounds what is too large, reads the text.
#pragma once
#include <cstdint>
#include <limits>

#include "apps/cli/commands.h"

namespace swage::cli {

// Whole numbers of the type Value, from `least` on.
CLI::Validator whole_number(int64_t least, uint64_t most);
template <class Value>
CLI::Validator whole_number(int64_t least) {
  return whole_number(least, uint64_t(std::numeric_limits<Value>::max()));
}

// Finite numbers; from `least` on, or above it where it is `open`, up to `most`.
struct RealRange {
  double least = std::numeric_limits<double>::lowest(), most = std::numeric_limits<double>::max();
  bool open = false;
};
CLI::Validator real_number(RealRange range);

}  // namespace swage::cli
