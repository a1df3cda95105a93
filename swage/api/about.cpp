#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include "swage/base/build_id.h"
#include "swage/kernels/vector_set.h"
#include "swage/swage.h"

namespace swage {

Json about() {
  Json out = Json::object();
  out.set("build_id", build_id());
  out.set("compiler", cat("g++ ", __VERSION__));
  out.set("libtorch", TORCH_VERSION);
  out.set("libtorch_isa", at::get_cpu_capability());
  out.set("isa", kernels::vector_set());
  out.set("threads", int64_t(at::get_num_threads()));
  return out;
}

}  // namespace swage
