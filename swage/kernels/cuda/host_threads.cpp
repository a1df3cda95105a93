#include "swage/kernels/cuda/host_threads.h"

namespace swage::kernels::cuda {
namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr size_t kWarp = 32;

}  // namespace

HostBlock*& HostBlock::current() {
  static thread_local HostBlock* block = nullptr;
  return block;
}

void HostBlock::enter() {
  HostBlock& block = *current();
  (*block.body_)();
  block.threads_[block.running_].finished = true;
  block.yield();
}

void HostBlock::run(unsigned index, unsigned blocks, const std::function<void()>& body) {
  current() = this;
  body_ = &body;
  blockIdx.x = index;
  gridDim.x = blocks;
  blockDim.x = unsigned(threads_.size());
  for (Thread& thread : threads_) {
    if (!thread.stack) thread.stack = std::make_unique<char[]>(kStackBytes);
    thread.block_syncs = thread.warp_syncs = 0;
    thread.finished = false;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStackBytes;
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, &HostBlock::enter, 0);
  }
  for (bool any = true; any;) {
    any = false;
    for (size_t i = 0; i < threads_.size(); ++i) {
      if (threads_[i].finished) continue;
      any = true;
      running_ = i;
      threadIdx.x = unsigned(i);
      swapcontext(&scheduler_, &threads_[i].context);
    }
  }
}

void HostBlock::yield() { swapcontext(&threads_[running_].context, &scheduler_); }

void HostBlock::sync_block() {
  const int64_t count = ++threads_[running_].block_syncs;
  const auto waits = [&] {
    for (const Thread& thread : threads_) {
      if (!thread.finished && thread.block_syncs < count) return true;
    }
    return false;
  };
  while (waits()) yield();
}

void HostBlock::sync_warp() {
  const size_t first = running_ / kWarp * kWarp;
  const int64_t count = ++threads_[running_].warp_syncs;
  const auto waits = [&] {
    for (size_t i = first; i < first + kWarp && i < threads_.size(); ++i) {
      if (!threads_[i].finished && threads_[i].warp_syncs < count) return true;
    }
    return false;
  };
  while (waits()) yield();
}

double HostBlock::exchange(double x, unsigned with) {
  threads_[running_].given = x;
  sync_warp();
  const size_t lane = running_ % kWarp;
  const double taken = threads_[running_ - lane + (lane ^ with)].given;
  sync_warp();  // no lane gives the next number before all have taken this one
  return taken;
}

}  // namespace swage::kernels::cuda
