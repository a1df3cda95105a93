#include "swage/kernels/vector_set.h"

#include <hwy/highway.h>
#include <hwy/targets.h>

#include "swage/kernels/kernels.h"

namespace swage::kernels {

std::string vector_set() {
  const auto usable = hwy::SupportedTargets() & HWY_TARGETS;  // better ones have lower bits
  return hwy::TargetName(usable & -usable) + std::string(multiplies_tiles() ? " AMX" : "");
}

}  // namespace swage::kernels
