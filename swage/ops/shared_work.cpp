#include "swage/ops/shared_work.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace swage::ops {
namespace {

constexpr int kTurns = 2000;        // that an idle thread waits awake: some 50 to 100 microseconds
constexpr int kTurnsOfCaller = 64;  // then it gives its processor to the thread that it waits for

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Threads {
 public:
  ~Threads() {
    stopped_ = true;
    ++calls_;
    calls_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // Whether this caller has the threads to itself.
  bool try_begin() { return !busy_.test_and_set(std::memory_order_acquire); }
  void end() { busy_.clear(std::memory_order_release); }

  void run(int64_t pieces, bool wake, int helpers, void (*run)(void*, int64_t), void* context) {
    while (static_cast<int>(threads_.size()) < helpers) threads_.emplace_back([this] { help(); });
    // The ticket of the call before goes first: whoever still holds it and sees what follows can claim nothing.
    const uint64_t call = (ticket_.load(std::memory_order_relaxed) >> kPieceBits) + 1;
    ticket_.store(call << kPieceBits | kNoPiece, std::memory_order_release);
    run_.store(run, std::memory_order_release);
    context_.store(context, std::memory_order_release);
    pieces_.store(pieces, std::memory_order_release);
    done_.store(0, std::memory_order_release);
    ticket_.store(call << kPieceBits, std::memory_order_release);
    calls_.store(static_cast<uint32_t>(call));
    if (wake && sleeping_ > 0) calls_.notify_all();
    take_pieces(call);
    for (int turn = 0; done_.load(std::memory_order_acquire) < pieces; ++turn) {
      if (turn < kTurnsOfCaller)
        pause();
      else
        std::this_thread::yield();
    }
  }

 private:
  static constexpr int kPieceBits = 32;
  static constexpr uint64_t kNoPiece = (uint64_t{1} << kPieceBits) - 1;

  // Pieces of this call, until all are taken. What a call is made of is read before a piece is claimed: a claim fails
  // if another call has begun meanwhile.
  void take_pieces(uint64_t call) {
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    for (;;) {
      const auto run = run_.load(std::memory_order_acquire);
      void* const context = context_.load(std::memory_order_acquire);
      const int64_t piece = static_cast<int64_t>(ticket & kNoPiece);
      if (ticket >> kPieceBits != call || piece >= pieces_.load(std::memory_order_acquire)) return;
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire))
        continue;
      run(context, piece);
      done_.fetch_add(1, std::memory_order_acq_rel);
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  void help() {
    uint32_t seen = 0;
    while (!stopped_) {
      for (int turn = 0; turn < kTurns && calls_.load(std::memory_order_acquire) == seen; ++turn) pause();
      if (calls_.load(std::memory_order_acquire) == seen) {
        ++sleeping_;
        calls_.wait(seen);
        --sleeping_;
      }
      seen = calls_.load(std::memory_order_acquire);
      take_pieces(ticket_.load(std::memory_order_acquire) >> kPieceBits);
    }
  }

  std::atomic_flag busy_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopped_ = false;
  std::atomic<int> sleeping_ = 0;
  std::atomic<uint32_t> calls_ = 0;   // what sleeping threads wait for
  std::atomic<uint64_t> ticket_ = 0;  // number of the call, and its next piece
  std::atomic<void (*)(void*, int64_t)> run_ = nullptr;
  std::atomic<void*> context_ = nullptr;
  std::atomic<int64_t> pieces_ = 0, done_ = 0;
};

Threads& threads() {
  static Threads all;
  return all;
}

}  // namespace

void share_work(int64_t pieces, bool wake, void (*run)(void*, int64_t), void* context) {
  const int helpers = static_cast<int>(std::min<int64_t>(at::get_num_threads(), pieces)) - 1;
  if (helpers <= 0 || at::in_parallel_region() || !threads().try_begin()) {
    for (int64_t piece = 0; piece < pieces; ++piece) run(context, piece);
    return;
  }
  threads().run(pieces, wake, helpers, run, context);
  threads().end();
}

}  // namespace swage::ops
