// A folder that appears under its name whole or not at all: filled inside a hidden sibling, synced, renamed. The
// sibling also holds what a run needs to be taken up again.
//   .NAME.partial/          one run's, by a lock
//     owner                 "HOST PROCESS" of that run
//     journal               what is finished; there only if an interrupted run is to be kept
//     activations-0, -1     what calibration goes on with, where the weights do not tell
//     output/               what becomes NAME
//     finished              which folder output/ was when it was complete: a NAME that is this one is the run's result
//     replaced/             the old NAME, for a moment, on filesystems that cannot exchange two folders
#pragma once
#include <filesystem>
#include <string_view>
#include <vector>

#include "swage/io/file_descriptor.h"

namespace swage::checkpoint {

// For one thread. Failures of the system are Error(Io).
class OutputFolder {
 public:
  // Makes the work folder and missing parents, or takes the one that an earlier run left, as it is.
  // Error(InvalidArgument) if `target` is a file, or not empty while `overwrite` is not set, or if another run holds
  // the work folder.
  OutputFolder(const std::filesystem::path& target, bool overwrite);
  // Without commit(): removes the work folder and the parents it made, unless it is to be kept.
  ~OutputFolder();
  OutputFolder(OutputFolder&&) noexcept;
  OutputFolder& operator=(OutputFolder&&) = delete;

  const std::filesystem::path& target() const { return target_; }
  const std::filesystem::path& work() const { return work_; }
  const std::filesystem::path& temporary() const { return temporary_; }
  std::filesystem::path journal() const { return journal_of(work_); }
  // Whether an earlier run left work behind that can be gone on with.
  bool holds_unfinished_run() const;
  // Removes what an earlier run left, and makes an empty temporary().
  void clear();
  // Whether the work folder stays if there is no commit(). At first it does if it was there with a journal; after
  // clear() it does not.
  void keep(bool kept) { kept_ = kept; }
  // Error(Io) saying how much is needed and free, if `bytes` more do not fit on the disk.
  void check_space(uint64_t bytes) const;
  // Puts temporary() in the target's place; the files in it must have been synced. An old target is exchanged for the
  // new one in one step, then deleted.
  void commit();

  // Error(InvalidArgument) as the constructor has it for a target, before there is anything to write.
  static void check_target(const std::filesystem::path& target, bool overwrite);
  // The work folder of a run that was stopped and can be gone on with; empty if there is none.
  static std::filesystem::path unfinished_work(const std::filesystem::path& target);
  // Removes what a dead run left that cannot be gone on with: its result is in place, or it had finished nothing.
  static void tidy(const std::filesystem::path& target);

 private:
  static std::filesystem::path work_of(const std::filesystem::path& target);
  static std::filesystem::path journal_of(const std::filesystem::path& work) { return work / "journal"; }
  void make_parents();
  void take_work_folder();
  bool try_lock();
  void refuse_busy() const;
  void put_back_replaced() const;
  void remove_what_was_made() noexcept;
  void replace_target();
  static void remove_work(const std::filesystem::path& work);

  std::filesystem::path target_;  // absolute, links resolved
  bool overwrite_ = false;
  std::vector<std::filesystem::path> made_parents_;  // outermost first
  std::filesystem::path work_, temporary_;
  io::FileDescriptor lock_;  // on the work folder: says that this run lives
  bool kept_ = true;
  bool ended_ = false;  // committed, or moved from
};

}  // namespace swage::checkpoint
