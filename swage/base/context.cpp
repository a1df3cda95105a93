#include "swage/base/context.h"

#include <charconv>

#include "swage/base/error.h"

namespace swage {

Device parse_device(const std::string& text) {
  if (text == "auto") return {Device::Kind::Auto, 0};
  if (text == "cpu") return {Device::Kind::Cpu, 0};
  if (text == "cuda") return {Device::Kind::Cuda, 0};
  int index = -1;
  if (text.starts_with("cuda:")) {
    const char* first = text.data() + 5;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(first, last, index);
    if (error != std::errc() || end != last) index = -1;
  }
  SWAGE_CHECK(index >= 0, InvalidArgument, "device \"", text, "\": expected auto, cpu, cuda or cuda:INDEX");
  return {Device::Kind::Cuda, index};
}

std::string to_string(Device device) {
  if (device.kind == Device::Kind::Auto) return "auto";
  return device.kind == Device::Kind::Cpu ? "cpu" : cat("cuda:", device.index);
}

void Context::check_cancelled() const {
  SWAGE_CHECK(cancel == nullptr || !cancel->load(std::memory_order_relaxed), Cancelled, "interrupted");
}

}  // namespace swage
