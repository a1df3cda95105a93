// What may follow a text, looked up in it (prompt lookup decoding): texts repeat names, code and quotations.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace swage::runtime {

// The tokens, at most `most`, that followed where the last three tokens stood before the last time, or the last two.
// Empty if they did not.
std::vector<int64_t> guess_next(std::span<const int64_t> ids, int64_t most);

}  // namespace swage::runtime
