// What the process holds before the work and the math library during it: code, tables, threads, buffers for products.
// It depends on processor, kernel and library, so it is measured.
#pragma once
#include <cstdint>

namespace swage::pipeline {

// The process before any work, on most machines. Measured, see docs/performance.md.
inline constexpr double kProcessBytes = double(uint64_t{165} << 20);

// Of a process that has held `now` before its work, and `products` more since it multiplied on each of `threads`
// threads: kProcessBytes unless that is clearly too little.
double process_bytes_from(double now, double products, int threads);

// The same measured: products of tokens x columns by columns x rows run on all threads once, where there are any. What
// the first call of a process finds holds for all, so that its plans agree.
double process_bytes(int threads, int64_t tokens, int64_t columns, int64_t rows);

}  // namespace swage::pipeline
