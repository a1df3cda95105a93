#include "swage/runtime/stop_strings.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace swage::runtime {

std::string StopStrings::push(const std::string& piece) {
  if (is_stopped()) return {};
  waiting_ += piece;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = waiting_.find(stop);
    if (at < first) first = at, found_ = stop;
  }
  size_t certain = first;
  if (first == std::string::npos) {
    size_t open = 0;  // bytes at the end that a stop string may begin with
    for (const std::string& stop : stops_) {
      for (size_t length = std::min(stop.size() - 1, waiting_.size()); length > open; --length) {
        if (std::string_view(waiting_).ends_with(std::string_view(stop).substr(0, length))) open = length;
      }
    }
    certain = waiting_.size() - open;
  }
  std::string out = waiting_.substr(0, certain);
  waiting_.erase(0, certain);
  return out;
}

std::string StopStrings::finish() { return is_stopped() ? std::string() : std::exchange(waiting_, {}); }

}  // namespace swage::runtime
