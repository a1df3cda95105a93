#include "swage/kernels/cpu/versions.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace swage::kernels {
namespace {

#if defined(__x86_64__)
bool processor_has_tiles() {
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;  // in EDX of leaf 7
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kTile) != 0 && (d & kInt8) != 0;
}

// Linux lends tile registers to a process that asks for them: threads then save 8 KB more where they are switched. It
// refuses where it does not know them, or where a stack for signals is too small for them.
bool ask_for_tiles() {
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return processor_has_tiles() && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}
#else
bool ask_for_tiles() { return false; }
#endif

}  // namespace

bool multiplies_tiles() {
  static const bool lent = ask_for_tiles();
  // All such processors have these too; without them the tests ask for an older one.
  return lent && runs_pair_products();
}

}  // namespace swage::kernels
