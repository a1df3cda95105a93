// Short pieces of work that a few threads take from one another, thousands of times a second. OpenMP's regions end when
// every thread has come back; here a thread that is late finds nothing left to do, so that a caller is never slower
// than it would be alone by more than one piece: on a machine that others use, too.
#pragma once
#include <cstdint>

namespace swage::ops {

// Calls run(piece) once for each piece in [0, pieces), on this thread and on those of at::get_num_threads() that are
// awake; sleeping ones are woken if `wake`. Inside a parallel region, and while another thread shares its work out,
// everything runs here. run() must not throw.
void share_work(int64_t pieces, bool wake, void (*run)(void* context, int64_t piece), void* context);

template <class Run>
void share_work(int64_t pieces, bool wake, const Run& run) {
  share_work(
      pieces, wake, [](void* context, int64_t piece) { (*static_cast<const Run*>(context))(piece); },
      const_cast<Run*>(&run));
}

}  // namespace swage::ops
