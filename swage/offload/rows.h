// Rows of numbers, some in memory and the others in a file: what a run keeps of every calibration row between two
// layers.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>

#include "swage/io/file_descriptor.h"

namespace swage::offload {

struct Tiers {
  std::filesystem::path folder = {};  // where an unnamed file for rows is made, which goes with them or with the
                                      // process; empty: all stay in memory
  int64_t rows_in_memory = 0;         // at most so many; the others lie in the file
};

// N rows of F numbers, f32. Those of the file are mapped: a row is read when it is touched and takes memory until
// release(). They lie evenly between those in memory, so that a pass over all rows reads and writes all the time that
// it computes.
class Rows {
 public:
  Rows() = default;
  // `options`: f32, and the device; on another one than the CPU all rows are in its memory. Error(Io) if the disk has
  // no room for those of the file.
  Rows(int64_t rows, int64_t numbers, const at::TensorOptions& options, const Tiers& tiers);
  ~Rows();
  Rows(Rows&& other) noexcept;
  Rows& operator=(Rows&& other) noexcept;

  bool empty() const { return rows_ == 0; }
  int64_t rows() const { return rows_; }
  int64_t numbers() const { return numbers_; }
  int64_t rows_in_file() const { return in_file_; }
  // A view [F]; valid while this object lives.
  at::Tensor row(int64_t row) const;

  // Of rows in a file, no-ops for others. Thread-safe for different rows.
  void prefetch(int64_t row) const;  // starts to read it; a row beyond the last is ignored
  void release(int64_t row) const;   // starts to write it, and gives its memory back

 private:
  bool in_file(int64_t row) const { return in_file_ > 0 && filed_before(row + 1) > filed_before(row); }
  int64_t filed_before(int64_t row) const { return row * in_file_ / rows_; }  // rows of the file among the first `row`
  char* mapped(int64_t row) const { return mapped_ + stride_bytes_ * uint64_t(filed_before(row)); }

  int64_t rows_ = 0, numbers_ = 0, in_file_ = 0;
  uint64_t stride_bytes_ = 0;  // of a row in the file, whole pages
  at::Tensor data_MF_;         // the M rows in memory
  io::FileDescriptor file_;
  char* mapped_ = nullptr;
};

// Error(InvalidArgument) unless `folder` is one that data can be spilled to: it exists, can be written, and is not
// itself in memory (tmpfs).
void check_folder(const std::filesystem::path& folder);

}  // namespace swage::offload
