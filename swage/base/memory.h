// This process's memory, as the operating system counts it.
#pragma once
#include <cstdint>

namespace swage {

// Highest resident set so far, and the one now; bytes.
int64_t peak_rss_bytes();
int64_t current_rss_bytes();
// From now on the highest is that since now, where the system can do that.
void reset_peak_rss();

// What this process could take in addition without swapping: of the machine, or of its control group where that has
// less. 0: unknown.
uint64_t available_memory_bytes();

// Gives pages that hold only freed blocks back to the system. Layers of a model come and go in many large blocks; what
// the allocator keeps of them for itself would otherwise add up to a copy of the model.
void release_free_memory();

}  // namespace swage
