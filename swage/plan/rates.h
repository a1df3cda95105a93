// How fast a machine computes, copies and reads: measured in at most two seconds, or given.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

#include "swage/base/json.h"

namespace swage::pipeline {

// All a second; 0: not known.
struct Rates {
  double gemm = 0;              // FLOP of f32 products
  double integer = 0;           // the same of products on integer codes; as gemm where the processor has nothing better
  double gram = 0;              // of symmetric products
  double copy = 0;              // bytes copied in memory
  double disk = 0;              // bytes read from files
  double measured_seconds = 0;  // what measuring took
  bool disk_is_assumed = false;  // there was no file to read

  Json to_json() const;
};

// "gemm=250G,copy=8G,disk=1.2G": numbers with K, M, G or T (powers of 1000), a second, each at most once. What follows
// from one that is given (integer and gram from gemm) follows. Error(InvalidArgument) naming the part that makes no
// sense.
Rates parse_rates(const std::string& text);

// Measures what `given` leaves out, on all threads that ATen has; `limit_seconds` bounds the time of each of the kinds
// together. Reads the start of the largest file of `folder` that holds weights, as fast as it comes, from the page
// cache too: as the run will. Without any, assumes. Of a GPU: its products, in the type that models are multiplied in
// there, and its copies; disk as ever.
Rates measure_rates(const std::filesystem::path& folder, Rates given, double limit_seconds,
                    at::Device device = at::kCPU);

}  // namespace swage::pipeline
