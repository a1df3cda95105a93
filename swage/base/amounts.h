// Sizes, times and counts as people read them.
#pragma once
#include <cstdint>
#include <string>

namespace swage {

std::string bytes_text(int64_t bytes);     // "123.4 MiB"
std::string count_text(int64_t count);     // "27648", "134.5 M", "8.03 B"
std::string seconds_text(double seconds);  // "4.2 s", "42 s", "3 min 05 s", "2 h 10 min", "60 d 02 h"
std::string number_text(double value, int digits);

}  // namespace swage
