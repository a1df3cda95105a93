// Any bytes at all: the reader gives a header whose tensors lie in the file, or an error of the format.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "swage/base/error.h"
#include "swage/io/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const swage::io::GgufHeader header = swage::io::parse_gguf(bytes, "fuzz");
    for (const swage::io::GgufTensor& tensor : header.tensors) {
      if (tensor.offset > size || tensor.bytes > size - tensor.offset) __builtin_trap();
    }
  } catch (const swage::Error& e) {
    const bool is_expected = e.kind() == swage::ErrorKind::CorruptData || e.kind() == swage::ErrorKind::Unsupported;
    if (!is_expected) __builtin_trap();
  }
  return 0;
}
