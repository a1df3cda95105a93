// Independent tasks of uneven length, spread over ATen's threads.
#pragma once
#include <ATen/Parallel.h>

#include <atomic>
#include <cstdint>

namespace swage::ops {

// Calls run(task, state) once for each task in [0, tasks), in no fixed order; `make_state()` gives each worker its scratch
// memory. A task must not depend on another one, so the result does not depend on the number of threads. Inside a parallel
// region everything runs on the calling thread, and also if not `worthwhile`: starting threads costs some 10 us on a quiet
// machine and milliseconds on a busy one.
template <class MakeState, class Run>
void parallel_tasks(int64_t tasks, const MakeState& make_state, const Run& run, bool worthwhile = true) {
  std::atomic<int64_t> next{0};
  const auto work = [&](int64_t, int64_t) {
    auto state = make_state();
    for (int64_t task = next++; task < tasks; task = next++) run(task, state);
  };
  if (tasks <= 1 || !worthwhile) return work(0, 1);
  at::parallel_for(0, at::get_num_threads(), 1, work);
}

}  // namespace swage::ops
