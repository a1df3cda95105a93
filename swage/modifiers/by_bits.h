// A number of a recipe that may depend on the width of the weights: 2.4, or {"3": 2.4, "8": 2}: 2.4 for up to 3 bits, 2
// for up to 8.
#pragma once
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "swage/base/json.h"

namespace swage::modifiers {

class ByBits {
 public:
  ByBits() = default;  // none is given
  explicit ByBits(double number) : up_to_{{0, number}} {}
  // null: none. Error(InvalidArgument) naming `where` unless all numbers are from `low` to `high`.
  ByBits(const Json& value, const std::string& where, double low, double high);

  bool given() const { return !up_to_.empty(); }
  // Widths beyond the last take its number.
  double at(int bits) const;

 private:
  std::vector<std::pair<int, double>> up_to_;  // ascending
};

// What `number_of` says of these widths, as a recipe has it: one number if they agree.
Json by_bits(const std::set<int>& widths, const std::function<double(int bits)>& number_of);

}  // namespace swage::modifiers
