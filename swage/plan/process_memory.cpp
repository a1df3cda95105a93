#include "swage/plan/process_memory.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <cmath>

#include "swage/base/memory.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::pipeline {
namespace {

constexpr double kMiB = 1 << 20;
constexpr double kLater = 15 * kMiB;            // code and data of the work that are not there when it is planned
constexpr double kProductsOfThread = 4 * kMiB;  // that kProcessBytes has room for
constexpr double kClearly = 4 * kMiB;           // pages of libraries that happen to be mapped differ from run to run
constexpr int64_t kMostTokens = 96, kMostWidth = 2048;  // a tenth of a second; beyond these the library works in blocks

// What the library keeps for products of such sizes: its buffers grow with them, and with the caches of the processor.
double measure_products(int threads, int64_t tokens, int64_t columns, int64_t rows) {
  if (tokens == 0 || columns == 0 || rows == 0) return 0;
  const int64_t t = std::min(tokens, kMostTokens), i = std::min(columns, kMostWidth), o = std::min(rows, kMostWidth);
  const double before = double(current_rss_bytes());
  {
    const at::Tensor x_TI = at::ones({t, i}), w_IO = at::ones({i, o});
    ops::parallel_tasks(threads, [] { return 0; }, [&](int64_t, int) { at::mm(x_TI, w_IO); });
  }
  release_free_memory();
  return std::max(0.0, double(current_rss_bytes()) - before);
}

}  // namespace

double process_bytes_from(double now, double products, int threads) {
  const double found = now + kLater + std::max(0.0, products - kProductsOfThread * threads);
  return found <= kProcessBytes + kClearly ? kProcessBytes : std::ceil(found / kMiB) * kMiB;
}

double process_bytes(int threads, int64_t tokens, int64_t columns, int64_t rows) {
  static const double found = [&] {
    release_free_memory();
    const double now = double(current_rss_bytes());
    return process_bytes_from(now, measure_products(threads, tokens, columns, rows), threads);
  }();
  return found;
}

}  // namespace swage::pipeline
