// The half of libtorch that computes on GPUs and swage's own kernels for them: opened when a GPU is asked for, since
// both together are gigabytes that most machines do not have.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "swage/kernels/cuda/device_kernels.h"

namespace swage::ops {

// What stands between this process and its GPUs; `gpus` of them can be used if `refusal` is empty.
struct CudaLibrary {
  int gpus = 0;
  std::string refusal;  // "no NVIDIA driver is installed", with the remedy
  const kernels::DeviceKernels* kernels = nullptr;
};

// The driver alone, without loading anything large: how many GPUs it finds. `refusal` says which of these is the reason
// for none: there is no driver, it finds no GPU, or they are too old (compute capability below 8.0).
CudaLibrary find_gpus();

// Opens both, once; later calls give the same. Folders that are looked through for the CUDA half, in order:
// `torch_folder`, the one of the libtorch that runs, that of the environment's python3 if its torch is of the same
// version.
const CudaLibrary& cuda_library(const std::string& torch_folder = {});

// The parts of that, for tests.
std::vector<std::filesystem::path> folders_of_cuda_half(const std::string& torch_folder);
// Empty, or why the CUDA half does not load from any of `folders`.
std::string open_cuda_half(const std::vector<std::filesystem::path>& folders);
// Null with `refusal` filled in if the plugin is missing or of another build.
const kernels::DeviceKernels* open_plugin(const std::filesystem::path& file, std::string& refusal);

}  // namespace swage::ops
