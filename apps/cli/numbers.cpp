#include "apps/cli/numbers.h"

#include <charconv>
#include <cmath>

namespace swage::cli {
namespace {

// All of the text, as from_chars reads it: no spaces, no plus, no hexadecimal digits.
template <class Value>
std::errc read(const std::string& text, Value& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop != end ? std::errc::invalid_argument : error;
}

std::string no_value(const std::string& text, const std::string& expected) {
  return text.empty() ? cat("a value is missing: expected ", expected) : cat("\"", text, "\": expected ", expected);
}

bool is_whole(const std::string& text) {
  const size_t first = text.starts_with('-') ? 1 : 0;
  return text.size() > first && text.find_first_not_of("0123456789", first) == std::string::npos;
}

}  // namespace

CLI::Validator whole_number(int64_t least, uint64_t most) {
  return {[least, most](std::string& text) {
            uint64_t large = 0;
            int64_t small = 0;
            const bool fits =
                is_whole(text) && (text.starts_with('-') ? read(text, small) == std::errc() && small >= least
                                                         : read(text, large) == std::errc() && large <= most &&
                                                               (least <= 0 || large >= uint64_t(least)));
            return fits ? std::string() : no_value(text, cat("a whole number from ", least, " to ", most));
          },
          ""};
}

CLI::Validator real_number(RealRange range) {
  return {[range](std::string& text) {
            double value = 0;
            const bool fits = read(text, value) == std::errc() && std::isfinite(value) && value <= range.most &&
                              (range.open ? value > range.least : value >= range.least);
            if (fits) return std::string();
            const RealRange any;
            std::string expected = "a number";
            if (range.least > any.least) expected += cat(range.open ? " above " : " from ", range.least);
            if (range.most < any.most) expected += cat(" up to ", range.most);
            if (range.least > any.least && range.most == any.most && !range.open) expected += " on";
            return no_value(text, expected);
          },
          ""};
}

}  // namespace swage::cli
