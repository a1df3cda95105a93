// Numbers and tables for people.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace swage::cli {

std::string bytes_text(int64_t bytes);      // "123.4 MiB"
std::string count_text(int64_t count);      // "27648", "134.5 M", "8.03 B"
std::string seconds_text(double seconds);   // "42 s", "3 min 05 s", "2 h 10 min"
std::string number_text(double value, int digits);
// "  key   value" lines, values aligned.
std::string two_columns(const std::vector<std::pair<std::string, std::string>>& rows);

}  // namespace swage::cli
