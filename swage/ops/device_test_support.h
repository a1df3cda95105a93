// Tests that run where a GPU is and, on the kernels that are compiled for the host, everywhere.
#pragma once
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include "swage/kernels/cuda/device_kernels.h"
#include "swage/ops/cuda_library.h"
#include "swage/ops/device.h"

namespace swage::ops {

enum class Where { Host, Gpu };

class OnDevice : public ::testing::TestWithParam<Where> {
 protected:
  void SetUp() override {
    if (GetParam() == Where::Gpu && cuda_library().gpus == 0) GTEST_SKIP() << "no GPU: " << cuda_library().refusal;
  }
  static at::Device device() { return GetParam() == Where::Gpu ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU); }
  static const kernels::DeviceKernels& table() {
    return GetParam() == Where::Gpu ? device_kernels() : kernels::device_kernels_on_host();
  }
  // As tests of matrices that a card should be filled with; the host's emulation is slow.
  static int64_t larger(int64_t on_host, int64_t on_gpu) { return GetParam() == Where::Gpu ? on_gpu : on_host; }
};

inline std::string name_of(const ::testing::TestParamInfo<Where>& info) {
  return info.param == Where::Gpu ? "Gpu" : "Host";
}

#define SWAGE_ON_DEVICE(Suite) INSTANTIATE_TEST_SUITE_P(All, Suite, ::testing::Values(Where::Host, Where::Gpu), name_of)

}  // namespace swage::ops
