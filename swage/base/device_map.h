// Where a model is to live, in the words of transformers and LLM Compressor (device_map), and what they mean for a run
// that streams.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "swage/base/context.h"

namespace swage {

// None: not said; as --device and --max-memory say. Auto: everything that the run keeps stays in the memory of its
// devices, or the run is refused. AutoOffload: on the device, then in the host's memory, then on disk. Cpu, Cuda: as
// Auto, on that device alone.
enum class DeviceMap { None, Auto, AutoOffload, Cpu, Cuda };

// "auto", "auto_offload", "cpu", "cuda", or "" for None. Error(InvalidArgument) otherwise.
DeviceMap parse_device_map(std::string_view text);
std::string to_string(DeviceMap map);
inline void read_text(std::string_view text, DeviceMap& map) { map = parse_device_map(text); }  // base/fields.h

// The device to compute on. Error(InvalidArgument) if `device` was asked for and is another one than the map's.
Device device_of(DeviceMap map, Device device);

// Whether activations may go to a file when a budget asks for it.
inline bool may_offload(DeviceMap map) { return map == DeviceMap::None || map == DeviceMap::AutoOffload; }

}  // namespace swage
