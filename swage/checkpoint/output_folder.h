// A folder that appears under its name whole or not at all: filled as a hidden sibling, synced, renamed.
#pragma once
#include <filesystem>
#include <string_view>
#include <vector>

#include "swage/io/file_descriptor.h"

namespace swage::checkpoint {

// For one thread. Failures of the system are Error(Io).
class OutputFolder {
 public:
  // Makes the temporary folder, and missing parents. Removes what dead runs with the same target left behind.
  // Error(InvalidArgument) if `target` is a file, or not empty while `overwrite` is not set.
  OutputFolder(const std::filesystem::path& target, bool overwrite);
  // Without commit(): removes the temporary folder, and the parents it made.
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& target() const { return target_; }
  const std::filesystem::path& temporary() const { return temporary_; }
  // Error(Io) saying how much is needed and free, if `bytes` more do not fit on the disk.
  void check_space(uint64_t bytes) const;
  // Puts the folder in the target's place; the files in it must have been synced. An old target is exchanged for the
  // new one in one step, then deleted.
  void commit();

 private:
  void check_target() const;
  void make_parents();
  void make_temporary();
  void remove_abandoned() const;
  void remove_what_was_made() noexcept;
  void replace_target();

  std::filesystem::path target_;  // absolute, links resolved
  bool overwrite_ = false;
  std::vector<std::filesystem::path> made_parents_;  // outermost first
  std::filesystem::path temporary_;
  io::FileDescriptor lock_;  // on the temporary folder: says that this run lives
  bool committed_ = false;
};

}  // namespace swage::checkpoint
