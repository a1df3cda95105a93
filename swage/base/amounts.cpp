#include "swage/base/amounts.h"

#include <cstdio>

namespace swage {
namespace {

template <class... Args>
std::string formatted(const char* format, Args... args) {
  char buffer[128];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return buffer;
}

// "2 h 10 min": two units, of which the smaller one has two digits.
std::string two_units(int64_t whole, const char* large, int64_t part, const char* small) {
  return formatted("%lld %s %02lld %s", static_cast<long long>(whole), large, static_cast<long long>(part), small);
}

}  // namespace

std::string bytes_text(int64_t bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = double(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  return formatted(unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

std::string count_text(int64_t count) {
  if (count < 1000000) return formatted("%lld", static_cast<long long>(count));
  return count < 1000000000 ? formatted("%.1f M", double(count) / 1e6) : formatted("%.2f B", double(count) / 1e9);
}

std::string seconds_text(double seconds) {
  constexpr int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
  constexpr double kMostSeconds = 1e15;  // longer than anything, and inside of an integer
  const auto whole = int64_t((seconds < kMostSeconds ? seconds : kMostSeconds) + 0.5);
  if (whole < 10) return formatted("%.1f s", seconds);
  if (whole < 100) return formatted("%lld s", static_cast<long long>(whole));
  if (whole < kHour) return two_units(whole / kMinute, "min", whole % kMinute, "s");
  if (whole < 2 * kDay) return two_units(whole / kHour, "h", whole % kHour / kMinute, "min");
  return two_units(whole / kDay, "d", whole % kDay / kHour, "h");
}

std::string number_text(double value, int digits) { return formatted("%.*f", digits, value); }

}  // namespace swage
