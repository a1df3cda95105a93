#include "swage/ops/cuda_library.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <torch/headeronly/version.h>

#include <array>
#include <cstdio>
#include <memory>
#include <utility>

#include "swage/base/error.h"

namespace swage::ops {
namespace {

namespace fs = std::filesystem;

constexpr int kLeastCapability = 80;  // 8.0: the kernels use no older one's code, and bf16 products begin there

// The few functions of the driver that are called; their C interface is fixed.
struct Driver {
  int (*init)(unsigned) = nullptr;
  int (*device_count)(int*) = nullptr;
  int (*attribute)(int*, int, int) = nullptr;
};
constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76;  // of CUdevice_attribute

template <class Function>
void bind(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
}

Driver open_driver() {
  Driver driver;
  void* handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return driver;
  bind(handle, "cuInit", driver.init);
  bind(handle, "cuDeviceGetCount", driver.device_count);
  bind(handle, "cuDeviceGetAttribute", driver.attribute);
  return driver;
}

int capability_of(const Driver& driver, int device) {
  int major = 0, minor = 0;
  driver.attribute(&major, kCapabilityMajor, device);
  driver.attribute(&minor, kCapabilityMinor, device);
  return 10 * major + minor;
}

bool has_cuda_half() {
  return c10::Dispatcher::singleton().findSchemaOrThrow("aten::mm", "").hasKernelForDispatchKey(c10::DispatchKey::CUDA);
}

// The folder of the library that `symbol` is in.
fs::path folder_of(const void* symbol) {
  Dl_info info{};
  if (dladdr(symbol, &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code error;
  return fs::weakly_canonical(info.dli_fname, error).parent_path();
}

// What a command prints on its first line; empty if it fails.
std::string first_line_of(const char* command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command, "r"), pclose);
  std::array<char, 4096> line{};
  if (!pipe || std::fgets(line.data(), int(line.size()), pipe.get()) == nullptr) return {};
  std::string out = line.data();
  while (!out.empty() && (out.back() == '\n' || out.back() == '\r')) out.pop_back();
  return out;
}

// torch/lib of python3's torch, which is not imported for that: it would take seconds.
fs::path folder_of_python_torch() {
  const std::string command =
      cat("python3 -c \"import importlib.util as u, pathlib as p; f = p.Path(u.find_spec('torch').origin).parent; "
          "v = {}; exec((f / 'version.py').read_text(), v); print(f / 'lib' if v['__version__'].split('+')[0] == '",
          TORCH_VERSION, "' else '')\" 2>/dev/null");
  return first_line_of(command.c_str());
}

}  // namespace

CudaLibrary find_gpus() {
  CudaLibrary out;
  static const Driver driver = open_driver();
  if (driver.init == nullptr || driver.device_count == nullptr || driver.attribute == nullptr) {
    out.refusal = "no NVIDIA driver is installed (libcuda.so.1 is not found)";
    return out;
  }
  int found = 0;
  const int state = driver.init(0);
  if (state == 0) driver.device_count(&found);
  if (found == 0) {
    out.refusal = cat("the NVIDIA driver finds no GPU", state != 0 ? cat(" (cuInit says ", state, ")") : "",
                      ": is one visible (CUDA_VISIBLE_DEVICES)?");
    return out;
  }
  for (int device = 0; device < found; ++device) {
    const int capability = capability_of(driver, device);
    if (capability >= kLeastCapability) continue;
    out.refusal = cat("GPU ", device, " has compute capability ", capability / 10, ".", capability % 10,
                      ", and swage needs ", kLeastCapability / 10, ".", kLeastCapability % 10,
                      " or newer (Ampere); CUDA_VISIBLE_DEVICES leaves a card out");
    return out;
  }
  out.gpus = found;
  return out;
}

std::vector<fs::path> folders_of_cuda_half(const std::string& torch_folder) {
  std::vector<fs::path> out;
  const auto add = [&out](const fs::path& folder) {
    std::error_code error;
    if (!folder.empty() && fs::exists(folder / "libtorch_cuda.so", error)) out.push_back(folder);
  };
  add(torch_folder);
  add(folder_of(reinterpret_cast<const void*>(&at::detail::getCUDAHooks)));
  if (out.empty()) add(folder_of_python_torch());
  return out;
}

std::string open_cuda_half(const std::vector<fs::path>& folders) {
  if (has_cuda_half()) return {};
  std::string refusal = cat("libtorch's CUDA half (libtorch_cuda.so of torch ", TORCH_VERSION,
                            ") is not found: `make deps CUDA=run` fetches it, or name the folder "
                            "torch/lib of a Python environment with torch ",
                            TORCH_VERSION, " in SWAGE_TORCH");
  for (const fs::path& folder : folders) {
    if (dlopen((folder / "libtorch_cuda.so").c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      refusal = cat("libtorch's CUDA half does not load: ", dlerror());
      continue;
    }
    // Factorizations; libtorch opens it by name when it needs it, and finds what is there already.
    (void)dlopen((folder / "libtorch_cuda_linalg.so").c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (has_cuda_half()) return {};
    refusal = cat(folder.string(), ": libtorch_cuda.so loads but is not of the libtorch ", TORCH_VERSION, " that runs");
  }
  return refusal;
}

const kernels::DeviceKernels* open_plugin(const fs::path& file, std::string& refusal) {
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    refusal = cat("swage's GPU kernels do not load (", dlerror(),
                  "): `make deps && make build` makes them where nvcc can be fetched");
    return nullptr;
  }
  kernels::DeviceKernelsEntry entry = nullptr;
  bind(handle, kernels::kDeviceKernelsSymbol, entry);
  const kernels::DeviceKernels* table = entry == nullptr ? nullptr : entry();
  if (table == nullptr || table->version != kernels::kDeviceKernelsVersion) {
    refusal = cat(file.string(), ": GPU kernels of another build of swage");
    return nullptr;
  }
  return table;
}

const CudaLibrary& cuda_library(const std::string& torch_folder) {
  static const CudaLibrary library = [&torch_folder] {
    CudaLibrary out = find_gpus();
    const int found = std::exchange(out.gpus, 0);
    if (found == 0) return out;
    out.refusal = open_cuda_half(folders_of_cuda_half(torch_folder));
    if (!out.refusal.empty()) return out;
    const fs::path beside = folder_of(reinterpret_cast<const void*>(&cuda_library));
    out.kernels = open_plugin(beside / "libswage_cuda.so", out.refusal);
    if (out.kernels == nullptr) return out;
    out.gpus = at::detail::getCUDAHooks()
                   .deviceCount();  // not asked before: libtorch keeps the answer of a process without its CUDA half
    if (out.gpus == 0)
      out.refusal =
          cat("the driver finds ", found, " GPUs, but libtorch none: is the driver older than CUDA 13 needs (580)?");
    return out;
  }();
  return library;
}

}  // namespace swage::ops
