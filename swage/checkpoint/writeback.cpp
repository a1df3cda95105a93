#include "swage/checkpoint/writeback.h"

namespace swage::checkpoint {

Writeback::Writeback(Trace* trace) : trace_(trace), thread_([this] { run(); }) {}

Writeback::~Writeback() { stop(); }

void Writeback::start(const io::FileDescriptor& file, uint64_t offset, uint64_t bytes) {
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    ranges_.push_back({&file, offset, bytes});
  }
  changed_.notify_one();
}

void Writeback::stop() {
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Writeback::run() {
  if (trace_ != nullptr) trace_->name_thread("writeback");
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !ranges_.empty(); });
    if (stopping_) return;
    const Range range = ranges_.front();
    ranges_.pop_front();
    lock.unlock();
    {
      const TraceSpan span(trace_, "write to disk", Trace::Kind::Disk);
      range.file->start_writeback(range.offset, range.bytes);
    }
    lock.lock();
  }
}

}  // namespace swage::checkpoint
