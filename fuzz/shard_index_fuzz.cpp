// Any text as an index and as a config.json: parsed, or Error(CorruptData); what was parsed prints and parses again.
#include <cstddef>
#include <cstdint>
#include <string>

#include "swage/base/error.h"
#include "swage/base/json.h"
#include "swage/io/shard_index.h"

namespace {

void expect(bool holds) {
  if (!holds) __builtin_trap();
}

template <class Parse>
void only_corrupt_data(Parse parse) {
  try {
    parse();
  } catch (const swage::Error& e) {
    expect(e.kind() == swage::ErrorKind::CorruptData);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  only_corrupt_data([&] {
    const swage::Json json = swage::parse_json(text, "config.json");
    const std::string printed = json.dump(2);
    expect(swage::parse_json(printed, "again").dump(2) == printed);
  });
  only_corrupt_data([&] {
    const swage::io::ShardIndex index = swage::io::parse_shard_index(text, "index.json");
    for (const auto& [tensor, shard] : index.weight_map)
      expect(shard.find('/') == std::string::npos && shard[0] != '.');
    const auto again = swage::io::parse_shard_index(swage::io::shard_index_text(index, 1), "again");
    expect(again.weight_map.size() == index.weight_map.size());
  });
  return 0;
}
