// Any bytes at all: the reader gives a header that obeys the format, or Error(CorruptData).
#include <cstddef>
#include <cstdint>
#include <string>

#include "swage/base/error.h"
#include "swage/io/safetensors.h"

namespace {

using swage::io::SafetensorsHeader;

// What a caller relies on when it reads from a map; a failed expectation is a finding.
void expect(bool holds) {
  if (!holds) __builtin_trap();
}

void check(const SafetensorsHeader& header, uint64_t file_bytes) {
  uint64_t at = header.bytes;
  std::vector<swage::io::TensorSpec> specs;
  for (const auto& tensor : header.tensors) {
    expect(tensor.offset == at);
    expect(tensor.bytes == swage::io::data_bytes(tensor.spec));
    at += tensor.bytes;
    specs.push_back(tensor.spec);
  }
  expect(at == file_bytes);
  // Written again, it reads the same.
  const std::string head = swage::io::safetensors_header(specs, header.metadata);
  const std::string file = head + std::string(at - header.bytes, 'x');
  const SafetensorsHeader again = swage::io::parse_safetensors_header(file, "again");
  expect(again.metadata == header.metadata && again.tensors.size() == specs.size());
  for (size_t i = 0; i < specs.size(); ++i) expect(again.tensors[i].spec == specs[i]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  SafetensorsHeader header;
  try {
    header = swage::io::parse_safetensors_header(bytes, "fuzz");
  } catch (const swage::Error& e) {
    expect(e.kind() == swage::ErrorKind::CorruptData);
    return 0;
  }
  check(header, size);
  return 0;
}
