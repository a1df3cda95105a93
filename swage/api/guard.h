// What every function of the public API does around its work.
#pragma once
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "swage/base/processors.h"
#include "swage/data/hub.h"
#include "swage/swage.h"

namespace swage::api {

// Where nobody says how many: the processors that this process may use, or fewer if a caller told libtorch so, or what
// OMP_NUM_THREADS says.
inline int default_threads() {
  static const int libtorch = at::get_num_threads();            // before the first call of this library changes it
  const bool said = std::getenv("OMP_NUM_THREADS") != nullptr;  // check_layers: allow print (as libgomp reads it)
  return said ? libtorch : std::min(libtorch, threads_for(0));
}

// Runs `work` on the context's threads, turning the exceptions of the libraries underneath into swage::Error.
template <class F>
auto guard(const Context& context, F work) -> decltype(work()) {
  try {
    const int threads = default_threads();
    at::set_num_threads(
        context.threads == 0
            ? threads
            : threads_for(
                  context.threads));  // also of the machine's own number: MKL takes it as a wish until it is set
    return work();
  } catch (const Error&) {
    throw;
  } catch (const c10::Error& e) {
    throw Error(ErrorKind::Internal, e.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::Io, "out of memory");
  }
}

data::HubOptions hub_options(const HubSettings& settings);

}  // namespace swage::api
