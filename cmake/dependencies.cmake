# Imported targets for what tools/deps fetched. A libtorch or Arrow found through CMAKE_PREFIX_PATH or Torch_DIR wins.
set(SWAGE_DEPS ${PROJECT_SOURCE_DIR}/.deps CACHE PATH "where tools/deps unpacked the wheels")

find_package(Threads REQUIRED)
find_package(yaml-cpp 0.7 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(spdlog 1.10 REQUIRED)
find_package(GTest 1.12 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)

# --- libtorch: the CPU half only. libtorch.so would pull in libtorch_cuda and gigabytes of CUDA libraries.
if(Torch_DIR)
  get_filename_component(SWAGE_TORCH_ROOT ${Torch_DIR}/../../.. ABSOLUTE)
else()
  set(SWAGE_TORCH_ROOT ${SWAGE_DEPS}/torch/torch)
endif()
if(NOT EXISTS ${SWAGE_TORCH_ROOT}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "libtorch is missing: run `make deps` first, or give -DTorch_DIR=...")
endif()
set(SWAGE_CUDART_DIR ${SWAGE_DEPS}/nvidia-cuda-runtime/nvidia/cu13/lib)
set(SWAGE_CUPTI_DIR ${SWAGE_DEPS}/nvidia-cuda-cupti/nvidia/cu13/lib)
add_library(swage_torch INTERFACE)
target_include_directories(swage_torch SYSTEM INTERFACE
  ${SWAGE_TORCH_ROOT}/include ${SWAGE_TORCH_ROOT}/include/torch/csrc/api/include)
target_compile_options(swage_torch INTERFACE -fopenmp)
# The wheel's own libgomp, by full name: two OpenMP runtimes in one process would fight for the cores.
file(GLOB SWAGE_GOMP ${SWAGE_TORCH_ROOT}/lib/libgomp*.so*)
target_link_libraries(swage_torch INTERFACE
  ${SWAGE_TORCH_ROOT}/lib/libtorch_cpu.so ${SWAGE_TORCH_ROOT}/lib/libc10.so ${SWAGE_GOMP} Threads::Threads)
target_link_options(swage_torch INTERFACE
  LINKER:-rpath-link,${SWAGE_CUDART_DIR}:${SWAGE_CUPTI_DIR}:${SWAGE_TORCH_ROOT}/lib)
set(CMAKE_BUILD_RPATH ${SWAGE_TORCH_ROOT}/lib ${SWAGE_CUDART_DIR} ${SWAGE_CUPTI_DIR} ${SWAGE_DEPS}/pyarrow/pyarrow)
# DT_RPATH, not DT_RUNPATH: libtorch_cpu finds libcudart and libcupti through ours.
add_link_options(LINKER:--disable-new-dtags)

# --- Arrow
set(SWAGE_ARROW_ROOT ${SWAGE_DEPS}/pyarrow/pyarrow)
file(GLOB SWAGE_ARROW_LIBRARIES ${SWAGE_ARROW_ROOT}/libarrow.so.* ${SWAGE_ARROW_ROOT}/libparquet.so.*)
add_library(swage_arrow INTERFACE)
target_include_directories(swage_arrow SYSTEM INTERFACE ${SWAGE_ARROW_ROOT}/include)
target_link_libraries(swage_arrow INTERFACE ${SWAGE_ARROW_LIBRARIES})
