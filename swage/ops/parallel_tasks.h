// Independent tasks of uneven length, spread over ATen's threads.
#pragma once
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace swage::ops {

// While one lives, products of the math library that the calling thread starts are not divided among threads. MKL
// divides its work by the number of threads it is told of, also where it then gets one alone, and another division may
// sum in another order.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

// Calls run(task, state) once for each task in [0, tasks), in no fixed order; `make_state()` gives each worker its
// scratch memory. A task must not depend on another one, so the result does not depend on the number of threads; nor
// does what ATen and the math library do inside of one, which runs on one thread even where there is a single task.
// Inside a parallel region everything runs on the calling thread, and also if not `worthwhile`, for tasks that leave
// ATen alone: starting threads costs some 10 us on a quiet machine and milliseconds on a busy one.
template <class MakeState, class Run>
void parallel_tasks(int64_t tasks, const MakeState& make_state, const Run& run, bool worthwhile = true) {
  std::atomic<int64_t> next{0};
  const auto work = [&](int64_t, int64_t) {
    const OneThread alone;
    auto state = make_state();
    for (int64_t task = next++; task < tasks; task = next++) run(task, state);
  };
  if (tasks == 0 || !worthwhile || at::get_num_threads() == 1 || at::in_parallel_region()) return work(0, 1);
  // Two workers at least: a region of one would not be parallel, and ATen would divide its sums.
  at::parallel_for(0, std::max<int64_t>(2, std::min<int64_t>(tasks, at::get_num_threads())), 1, work);
}

// The sum over pieces of kSummedRows rows of what of_piece(first row, rows) makes of them, in their order: the same
// bits for any number of threads.
inline constexpr int64_t kSummedRows = 128;
template <class OfPiece>
double sum_by_rows(int64_t rows, const OfPiece& of_piece) {
  std::vector<double> part(static_cast<size_t>((rows + kSummedRows - 1) / kSummedRows));
  parallel_tasks(
      static_cast<int64_t>(part.size()), [] { return 0; },
      [&](int64_t piece, int) {
        const int64_t first = piece * kSummedRows;
        part[static_cast<size_t>(piece)] = of_piece(first, std::min(kSummedRows, rows - first));
      });
  double sum = 0;
  for (const double x : part) sum += x;
  return sum;
}

}  // namespace swage::ops
