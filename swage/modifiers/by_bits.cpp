#include "swage/modifiers/by_bits.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "swage/base/error.h"

namespace swage::modifiers {
namespace {

double checked(const Json& value, const std::string& where, double low, double high) {
  const double number = value.is_number() ? value.as_double() : NAN;
  SWAGE_CHECK(number >= low && number <= high, InvalidArgument, where, " ", value.dump(), ": expected a number from ",
              low, " to ", high);
  return number;
}

// Whole numbers without a point.
Json as_json(double number) { return number == std::floor(number) ? Json(int64_t(number)) : Json(number); }

}  // namespace

ByBits::ByBits(const Json& value, const std::string& where, double low, double high) {
  if (value.is_null()) return;
  if (!value.is_object()) {
    up_to_.emplace_back(0, checked(value, where, low, high));
    return;
  }
  for (const auto& [key, number] : value.as_object()) {
    int bits = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), bits);
    SWAGE_CHECK(error == std::errc() && end == key.data() + key.size() && bits > 0 && bits <= 32, InvalidArgument,
                where, ": \"", key, "\": expected a number of bits");
    up_to_.emplace_back(bits, checked(number, where, low, high));
  }
  SWAGE_CHECK(!up_to_.empty(), InvalidArgument, where, ": expected numbers by bits");
  std::sort(up_to_.begin(), up_to_.end());
}

double ByBits::at(int bits) const {
  for (const auto& [most, number] : up_to_) {
    if (bits <= most) return number;
  }
  return up_to_.back().second;
}

Json by_bits(const std::set<int>& widths, const std::function<double(int bits)>& number_of) {
  std::vector<std::pair<int, double>> runs;
  for (const int bits : widths) {
    const double number = number_of(bits);
    if (!runs.empty() && runs.back().second == number)
      runs.back().first = bits;
    else
      runs.emplace_back(bits, number);
  }
  if (runs.empty()) return {};
  if (runs.size() == 1) return as_json(runs[0].second);
  Json out = Json::object();
  for (const auto& [most, number] : runs) out.set(cat(most), as_json(number));
  return out;
}

}  // namespace swage::modifiers
