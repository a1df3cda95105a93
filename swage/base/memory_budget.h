// Sizes as options and recipes say them: what a run may take of the machine's memory, as "cpu=2GiB"; what lies in one
// file, as "5GiB". To the code they are numbers of bytes.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace swage {

// Bytes of "2GiB", "1.5 GB", "800MiB", "4096" (bytes): KiB, MiB, GiB, TiB are powers of 1024; KB, MB, GB, TB powers of
// 1000. Error(InvalidArgument) for anything else, and for 0.
uint64_t parse_bytes(std::string_view text);

// Bytes of host memory in "cpu=2GiB" or plain "2GiB". Error(InvalidArgument) for a device that is no such, or named
// twice; Error(Unsupported) for budgets of GPUs.
uint64_t parse_memory_budget(std::string_view text);

// Bytes of the host's memory, 0: no limit.
struct MemoryBudget {
  uint64_t bytes = 0;
  operator uint64_t() const { return bytes; }
};
inline void read_text(std::string_view text, MemoryBudget& budget) { budget.bytes = parse_memory_budget(text); }
std::string to_string(MemoryBudget budget);  // "cpu=4096B", or nothing for no limit

// Bytes of weights in one file; a plain number is in GiB, as Hugging Face's programs have it in GB.
struct ShardSize {
  uint64_t bytes = uint64_t{5} << 30;
  operator uint64_t() const { return bytes; }
};
void read_text(std::string_view text, ShardSize& size);
std::string to_string(ShardSize size);  // "5GiB", exact

// "1.50 GiB", rounded up, so that it is enough when it is given back.
std::string budget_text(uint64_t bytes);

}  // namespace swage
