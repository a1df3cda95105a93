#include "swage/base/memory_budget.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iomanip>
#include <sstream>
#include <utility>

#include "swage/base/error.h"

namespace swage {
namespace {

constexpr double kMostBytes = double(uint64_t{1} << 50);  // a PiB

double unit_of(std::string_view unit) {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1},         {"B", 1},    {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30},
      {"TiB", 0x1p40}, {"KB", 1e3}, {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12}};
  for (const auto& [name, bytes] : kUnits) {
    if (name == unit) return bytes;
  }
  return 0;
}

// In the largest unit of which there are so many whole ones.
std::string exact_text(uint64_t bytes) {
  for (const auto& [unit, bits] : {std::pair("GiB", 30), std::pair("MiB", 20), std::pair("KiB", 10)}) {
    if (bytes > 0 && bytes % (uint64_t{1} << bits) == 0) return cat(bytes >> bits, unit);
  }
  return cat(bytes, "B");
}

}  // namespace

uint64_t parse_bytes(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit = text.substr(size_t(end - text.data()));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  const double bytes = error == std::errc() ? number * unit_of(unit) : 0;
  SWAGE_CHECK(bytes >= 1 && bytes <= kMostBytes, InvalidArgument, "\"", text,
              "\": expected a size such as 2GiB, 800MiB or 16GB");
  return uint64_t(bytes);
}

uint64_t parse_memory_budget(std::string_view text) {
  uint64_t host = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    const size_t equals = part.find('=');
    const std::string_view device = equals == std::string_view::npos ? "cpu" : part.substr(0, equals);
    SWAGE_CHECK(!device.starts_with("cuda"), Unsupported, "\"", text, "\": budgets of GPUs are not supported yet");
    SWAGE_CHECK(device == "cpu" && host == 0, InvalidArgument, "\"", text, "\": expected one budget, cpu=SIZE");
    host = parse_bytes(equals == std::string_view::npos ? part : part.substr(equals + 1));
  }
  SWAGE_CHECK(host > 0, InvalidArgument, "\"", text, "\": expected one budget, cpu=SIZE");
  return host;
}

std::string to_string(MemoryBudget budget) { return budget.bytes == 0 ? "" : "cpu=" + exact_text(budget.bytes); }

void read_text(std::string_view text, ShardSize& size) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool plain = error == std::errc() && end == text.data() + text.size();
  size.bytes = parse_bytes(plain ? std::string(text) + "GiB" : std::string(text));
}

std::string to_string(ShardSize size) { return exact_text(size.bytes); }

std::string budget_text(uint64_t bytes) {
  const bool large = bytes >= uint64_t{1} << 30;
  std::ostringstream out;
  out << std::fixed << std::setprecision(large ? 2 : 0)
      << std::ceil(double(bytes) / (large ? 0x1p30 : 0x1p20) * (large ? 100 : 1)) / (large ? 100 : 1)
      << (large ? " GiB" : " MiB");
  return out.str();
}

}  // namespace swage
