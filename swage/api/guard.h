// What every function of the public API does around its work.
#pragma once
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <new>

#include "swage/data/hub.h"
#include "swage/swage.h"

namespace swage::api {

// Runs `work` on the context's threads, turning the exceptions of the libraries underneath into swage::Error.
template <class F>
auto guard(const Context& context, F work) -> decltype(work()) {
  try {
    at::set_num_threads(context.threads > 0 ? context.threads : at::get_num_threads());  // also of the machine's own number: MKL takes it as a wish until it is set
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
