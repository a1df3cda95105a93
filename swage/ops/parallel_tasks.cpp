#include "swage/ops/parallel_tasks.h"

// MKL's (the name in small letters is Fortran's and takes a pointer), of the calling thread; 0: as for all threads.
// Returns what was there before. A libtorch that multiplies with another library may not have it.
extern "C" int MKL_Set_Num_Threads_Local(int threads) __attribute__((weak));

namespace swage::ops {

OneThread::OneThread() : before_(MKL_Set_Num_Threads_Local != nullptr ? MKL_Set_Num_Threads_Local(1) : 0) {}

OneThread::~OneThread() {
  if (MKL_Set_Num_Threads_Local != nullptr) MKL_Set_Num_Threads_Local(before_);
}

}  // namespace swage::ops
