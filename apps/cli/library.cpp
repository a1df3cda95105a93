#include "apps/cli/library.h"

#include <dlfcn.h>

namespace swage::cli {

const api::Functions& library() {
  void* handle = dlopen("libswage.so", RTLD_NOW | RTLD_LOCAL);
  SWAGE_CHECK(handle != nullptr, Io, "libswage.so, which belongs beside this program, does not load: ", dlerror());
  using Entry = const api::Functions* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(handle, "swage_functions_0_1_0"));
  SWAGE_CHECK(entry != nullptr, Io, "libswage.so is of another version than this program (", kVersion, ")");
  return *entry();
}

}  // namespace swage::cli
