#include "swage/base/device_map.h"

#include <utility>

#include "swage/base/error.h"

namespace swage {
namespace {

constexpr std::pair<const char*, DeviceMap> kNames[] = {{"", DeviceMap::None},
                                                        {"auto", DeviceMap::Auto},
                                                        {"auto_offload", DeviceMap::AutoOffload},
                                                        {"cpu", DeviceMap::Cpu},
                                                        {"cuda", DeviceMap::Cuda}};

}  // namespace

DeviceMap parse_device_map(std::string_view text) {
  for (const auto& [name, map] : kNames) {
    if (text == name) return map;
  }
  throw Error(ErrorKind::InvalidArgument, cat("device-map \"", text, "\": expected auto, auto_offload, cpu or cuda"));
}

std::string to_string(DeviceMap map) {
  for (const auto& [name, known] : kNames) {
    if (map == known) return name;
  }
  return {};
}

Device device_of(DeviceMap map, Device device) {
  if (map != DeviceMap::Cpu && map != DeviceMap::Cuda) return device;
  const Device::Kind kind = map == DeviceMap::Cpu ? Device::Kind::Cpu : Device::Kind::Cuda;
  SWAGE_CHECK(device.kind == Device::Kind::Auto || device.kind == kind, InvalidArgument, "device-map ", to_string(map),
              " and device ", to_string(device), " contradict each other; give one of them");
  Device out = device;  // with what is said of how it computes
  if (device.kind != kind) out.kind = kind, out.index = 0;
  return out;
}

}  // namespace swage
