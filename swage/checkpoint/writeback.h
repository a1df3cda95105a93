// A thread that sends finished parts of files to the disk while the caller computes on. Handing dirty pages over can
// block for as long as the disk is busy; left to the kernel, they would wait half a minute and then all come at once.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

#include "swage/base/trace.h"
#include "swage/io/file_descriptor.h"

namespace swage::checkpoint {

// Thread-safe. It is advice only: durability and errors belong to FileDescriptor::sync().
class Writeback {
 public:
  explicit Writeback(Trace* trace = nullptr);
  // Drops what has not begun, and joins.
  ~Writeback();
  Writeback(const Writeback&) = delete;
  Writeback& operator=(const Writeback&) = delete;

  // Asks for this range; returns at once. `file` must stay open until stop() or the end.
  void start(const io::FileDescriptor& file, uint64_t offset, uint64_t bytes);
  // Drops what has not begun, and waits for the rest. Nothing may be started after it.
  void stop();

 private:
  struct Range {
    const io::FileDescriptor* file;
    uint64_t offset;
    uint64_t bytes;
  };
  void run();

  Trace* const trace_;
  std::mutex mutex_;  // guards the next three
  std::condition_variable changed_;
  std::deque<Range> ranges_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace swage::checkpoint
