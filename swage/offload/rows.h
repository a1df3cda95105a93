// Rows of numbers that stay in memory or lie in a file: what a run keeps of every calibration row between two layers.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>

#include "swage/io/file_descriptor.h"

namespace swage::offload {

// N rows of F numbers, f32. In a file they are mapped: a row is read when it is touched and takes memory until release().
class Rows {
 public:
  Rows() = default;
  // `options`: f32, and the device. `folder`: where an unnamed file for them is made, which goes with this object or with the process; empty, or a
  // device other than the CPU: ordinary memory. Error(Io) if the disk has no room for all of them.
  Rows(int64_t rows, int64_t numbers, const at::TensorOptions& options, const std::filesystem::path& folder);
  ~Rows();
  Rows(Rows&& other) noexcept;
  Rows& operator=(Rows&& other) noexcept;

  bool empty() const { return rows_ == 0; }
  int64_t rows() const { return rows_; }
  int64_t numbers() const { return numbers_; }
  bool in_file() const { return mapped_ != nullptr; }
  // A view [F]; valid while this object lives.
  at::Tensor row(int64_t row) const;

  // Of rows in a file, no-ops for others. Thread-safe for different rows.
  void prefetch(int64_t row) const;  // starts to read it; a row beyond the last is ignored
  void release(int64_t row) const;   // starts to write it, and gives its memory back

 private:
  int64_t rows_ = 0, numbers_ = 0;
  uint64_t stride_bytes_ = 0;  // of a row in the file, whole pages
  at::Tensor data_NF_;         // in memory
  io::FileDescriptor file_;
  char* mapped_ = nullptr;
};

// Error(InvalidArgument) unless `folder` is one that data can be spilled to: it exists, can be written, and is not itself in memory (tmpfs).
void check_folder(const std::filesystem::path& folder);

}  // namespace swage::offload
