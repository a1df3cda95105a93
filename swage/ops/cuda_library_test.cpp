#include "swage/ops/cuda_library.h"

#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace swage::ops {
namespace {

using ::testing::AnyOf, ::testing::HasSubstr;

namespace fs = std::filesystem;

// One of the reasons that a user can act on, or GPUs.
TEST(CudaLibrary, SaysWhyThereIsNoGpu) {
  const CudaLibrary found = find_gpus();
  if (found.gpus > 0) {
    EXPECT_EQ(found.refusal, "");
    return;
  }
  EXPECT_THAT(found.refusal,
              AnyOf(HasSubstr("no NVIDIA driver"), HasSubstr("finds no GPU"), HasSubstr("compute capability")));
}

TEST(CudaLibrary, SaysHowToGetTheCudaHalf) {
  if (cuda_library().gpus > 0) GTEST_SKIP() << "it is there";
  EXPECT_THAT(open_cuda_half({}), HasSubstr("make deps CUDA=run"));
}

TEST(CudaLibrary, NamesWhatDoesNotLoad) {
  if (cuda_library().gpus > 0) GTEST_SKIP() << "it is loaded";
  const fs::path folder = fs::path(::testing::TempDir()) / "cuda_half";
  fs::create_directories(folder);
  std::ofstream(folder / "libtorch_cuda.so") << "not a library";
  EXPECT_THAT(open_cuda_half({folder}), HasSubstr("libtorch_cuda.so"));
  std::string refusal;
  EXPECT_EQ(open_plugin(folder / "libswage_cuda.so", refusal), nullptr);
  EXPECT_THAT(refusal, HasSubstr("libswage_cuda.so"));
  fs::remove_all(folder);
}

TEST(CudaLibrary, LooksFirstWhereItIsTold) {
  const fs::path folder = fs::path(::testing::TempDir()) / "named_half";
  fs::create_directories(folder);
  std::ofstream(folder / "libtorch_cuda.so") << "";
  const std::vector<fs::path> folders = folders_of_cuda_half(folder);
  ASSERT_FALSE(folders.empty());
  EXPECT_EQ(folders[0], folder);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace swage::ops
