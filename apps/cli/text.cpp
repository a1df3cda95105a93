#include "apps/cli/text.h"

#include <algorithm>
#include <cstdio>

#include "swage/base/printable.h"

namespace swage::cli {
namespace {

template <class... Args>
std::string formatted(const char* format, Args... args) {
  char buffer[128];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return buffer;
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
  const auto whole = int64_t(seconds + 0.5);
  if (whole < 10) return formatted("%.1f s", seconds);
  if (whole < 100) return formatted("%lld s", static_cast<long long>(whole));
  if (whole < 3600) return formatted("%lld min %02lld s", static_cast<long long>(whole / 60), static_cast<long long>(whole % 60));
  return formatted("%lld h %02lld min", static_cast<long long>(whole / 3600), static_cast<long long>(whole % 3600 / 60));
}

std::string number_text(double value, int digits) { return formatted("%.*f", digits, value); }

std::string two_columns(const std::vector<std::pair<std::string, std::string>>& rows) {
  size_t width = 0;
  for (const auto& [key, value] : rows) width = std::max(width, key.size());
  std::string out;
  for (const auto& [key, value] : rows) out += "  " + key + std::string(width - key.size() + 2, ' ') + printable(value) + "\n";
  return out;
}

}  // namespace swage::cli
