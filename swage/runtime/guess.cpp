#include "swage/runtime/guess.h"

#include <algorithm>

namespace swage::runtime {

std::vector<int64_t> guess_next(std::span<const int64_t> ids, int64_t most) {
  const auto count = int64_t(ids.size());
  for (int64_t known = 3; known >= 2 && most > 0; --known) {
    for (int64_t at = count - known - 1; at >= 0; --at) {
      if (!std::equal(ids.begin() + at, ids.begin() + at + known, ids.end() - known)) continue;
      const int64_t first = at + known, end = std::min(count, first + most);
      return {ids.begin() + first, ids.begin() + end};
    }
  }
  return {};
}

}  // namespace swage::runtime
