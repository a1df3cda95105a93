// What a run may take of the machine's memory, as "cpu=2GiB".
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

// "1.50 GiB", rounded up, so that it is enough when it is given back.
std::string budget_text(uint64_t bytes);

}  // namespace swage
