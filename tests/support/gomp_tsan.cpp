// For builds with ThreadSanitizer: it does not see how the threads of libgomp, which is not instrumented, start and
// wait for each other, and would take everything that a parallel region reads for a race. This stands before the entry
// of parallel regions and says so: what was written before a region is seen in it, and what was written in it is seen
// after it. Nothing within a region is ordered, so races between its threads are still found.
#include <dlfcn.h>

extern "C" {

void __tsan_acquire(void* address);
void __tsan_release(void* address);

namespace {

// Start and end are two things, or what the first thread did would seem ordered before what a later one does.
struct Region {
  void (*work)(void*);
  void* data;
  char start, end;
};

void run(void* region) {
  auto* of = static_cast<Region*>(region);
  __tsan_acquire(&of->start);
  of->work(of->data);
  __tsan_release(&of->end);
}

}  // namespace

void GOMP_parallel(void (*work)(void*), void* data, unsigned threads, unsigned flags) {
  static const auto next =
      reinterpret_cast<void (*)(void (*)(void*), void*, unsigned, unsigned)>(dlsym(RTLD_NEXT, "GOMP_parallel"));
  Region region{work, data, 0, 0};
  __tsan_release(&region.start);
  next(run, &region, threads, flags);
  __tsan_acquire(&region.end);
}

}  // extern "C"
