# The GPU's kernels (swage/kernels/cuda/*.cu), twice: for the host, as C++ into swage_kernels, where tests hold them against their plain twins; and, where
# nvcc is, for GPUs as the plugin libswage_cuda.so, which the program opens at run time. nvcc is called directly: CMake's own CUDA language would
# want a GPU toolkit at configure time and knows no C++20 for nvcc 13.
file(GLOB SWAGE_CUDA_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/swage/kernels/cuda/*.cu)
set(on_host ${SWAGE_CUDA_SOURCES})
list(FILTER on_host EXCLUDE REGEX "plugin\\.cu$")
set_source_files_properties(${on_host} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++;-Wno-unknown-pragmas")
target_sources(swage_kernels PRIVATE ${on_host})

set(SWAGE_CUDA_TOOLKIT ${SWAGE_DEPS}/cuda-toolkit/nvidia/cu13 CACHE PATH "folder with bin/nvcc; without, no GPU kernels are built")
if(NOT EXISTS ${SWAGE_CUDA_TOOLKIT}/bin/nvcc)
  message(STATUS "No nvcc in ${SWAGE_CUDA_TOOLKIT}: the kernels for GPUs are not built (`make deps` fetches it)")
  return()
endif()
# Code of Ampere and Hopper, and PTX for what comes after.
set(SWAGE_NVCC_FLAGS -std=c++20 -O3 --expt-relaxed-constexpr -fmad=false -I${PROJECT_SOURCE_DIR} -gencode=arch=compute_80,code=sm_80
  -gencode=arch=compute_90a,code=sm_90a -gencode=arch=compute_80,code=compute_80 -Xptxas=-warn-spills -Werror all-warnings
  -Xcompiler=-fPIC,-Wall,-Wextra,-fvisibility=hidden)
file(GLOB SWAGE_CUDA_HEADERS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/swage/kernels/cuda/*.h)
list(APPEND SWAGE_CUDA_HEADERS ${PROJECT_SOURCE_DIR}/swage/kernels/kernels.h ${PROJECT_SOURCE_DIR}/swage/kernels/number_format.h
  ${PROJECT_SOURCE_DIR}/swage/kernels/rounding.h ${PROJECT_SOURCE_DIR}/swage/kernels/rows.h)
set(SWAGE_CUDA_OBJECTS)
foreach(source ${SWAGE_CUDA_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
  add_custom_command(OUTPUT ${object} COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
    COMMAND ${SWAGE_CUDA_TOOLKIT}/bin/nvcc ${SWAGE_NVCC_FLAGS} -c ${source} -o ${object} DEPENDS ${source} ${SWAGE_CUDA_HEADERS}
    COMMENT "nvcc ${name}.cu" VERBATIM)
  list(APPEND SWAGE_CUDA_OBJECTS ${object})
endforeach()
set(SWAGE_CUDA_PLUGIN ${CMAKE_BINARY_DIR}/libswage_cuda.so)
# libcudart.so.13 is in the process already: libtorch_cpu needs it.
add_custom_command(OUTPUT ${SWAGE_CUDA_PLUGIN} COMMAND ${CMAKE_CXX_COMPILER} -shared -Wl,-z,defs -o ${SWAGE_CUDA_PLUGIN}
  ${SWAGE_CUDA_OBJECTS} ${SWAGE_CUDART_DIR}/libcudart.so.13
  DEPENDS ${SWAGE_CUDA_OBJECTS} COMMENT "GPU kernels: libswage_cuda.so" VERBATIM)
add_custom_target(swage_cuda ALL DEPENDS ${SWAGE_CUDA_PLUGIN})
