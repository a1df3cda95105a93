// Any JSON as a quantization_config: read, or Error(CorruptData) or Error(Unsupported); what was read is written, and
// reads again as the same.
#include <cstddef>
#include <cstdint>
#include <string>

#include "swage/base/error.h"
#include "swage/base/json.h"
#include "swage/scheme/config_json.h"
#include "swage/scheme/gptq_awq.h"

namespace {

void expect(bool holds) {
  if (!holds) __builtin_trap();
}

template <class Read>
void refuses_or_reads(Read read) {
  try {
    read();
  } catch (const swage::Error& e) {
    expect(e.kind() == swage::ErrorKind::CorruptData || e.kind() == swage::ErrorKind::Unsupported);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swage;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  refuses_or_reads([&] {
    const Json json = parse_json(text, "config.json");
    if (!json.is_object()) return;
    refuses_or_reads([&] { scheme::GptqAwqSchemes schemes(json); });
    const scheme::QuantizationConfig config = scheme::parse_quantization_config(json);
    const Json written = scheme::to_json(config);
    Json again;
    try {
      again = scheme::to_json(scheme::parse_quantization_config(parse_json(written.dump(2), "again")));
    } catch (const Error&) {
      expect(false);
    }
    expect(again == written);
  });
  return 0;
}
