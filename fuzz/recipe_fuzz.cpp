// Any text as a recipe, YAML or JSON: modifiers, or a refusal; what was read is written, and reads again as the same.
#include "fuzz/support.h"
#include "swage/recipe/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swage;
  fuzz::refuses_or_reads({ErrorKind::CorruptData, ErrorKind::InvalidArgument, ErrorKind::Unsupported}, [&] {
    const std::string written =
        recipe::to_yaml(recipe::parse_recipe({reinterpret_cast<const char*>(data), size}, "recipe.yaml"));
    fuzz::refuses_or_reads({},
                           [&] { fuzz::expect(recipe::to_yaml(recipe::parse_recipe(written, "again")) == written); });
  });
  return 0;
}
