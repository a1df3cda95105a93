// The engine: requests come in from any thread, one thread makes their answers, all of them side by side.
//
// A sequence's tokens are the same whatever runs beside it, however its prompt is cut into steps, whether it was
// preempted, and whether others had computed its beginning: on the CPU to the bit.
#pragma once
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "swage/runtime/inbox.h"
#include "swage/runtime/memory_plan.h"
#include "swage/runtime/model_runner.h"
#include "swage/runtime/request.h"
#include "swage/runtime/scheduler.h"
#include "swage/runtime/vocabulary.h"

namespace swage::runtime {

struct EngineOptions {
  kernels::CacheFormat cache_format = kernels::CacheFormat::F32;
  SchedulerOptions schedule;
  MemoryLimits memory;
  bool shares_prefixes = true;
  int64_t most_waiting = 1024;  // answers that wait; more are not taken
};

// Of now, and since the beginning.
struct EngineStats {
  int64_t running = 0, waiting = 0;        // answers
  int64_t blocks = 0, free = 0, kept = 0;  // kept: that nobody uses, for requests that begin alike
  uint64_t steps = 0, prompt_tokens = 0, cached_tokens = 0, new_tokens = 0, preemptions = 0, requests = 0;
  uint64_t drafted = 0, accepted = 0;  // tokens that were guessed, and of these what was right
};

class Engine {
 public:
  // `tokenizer` null: answers have no text. All must outlive the engine.
  Engine(const ModelRunner& runner, const data::Tokenizer* tokenizer, const MemoryPlan& plan,
         const EngineOptions& options);
  ~Engine();

  // From any thread. Nothing if too many wait. Error(InvalidArgument) naming what is wrong with the request.
  std::optional<RequestId> submit(Request request, EventSink sink);
  // From any thread; its blocks are free before the next step. Unknown or finished ones: nothing happens.
  void cancel(RequestId request);
  EngineStats stats() const;
  const MemoryPlan& plan() const { return plan_; }

  // From one thread. Computes one step and tells what came of it; false if there is nothing to do.
  bool step();
  // Waits until there may be something to do, or for so long.
  void wait(std::chrono::milliseconds most);

 private:
  using Groups = std::map<RequestId, std::unique_ptr<Group>>;

  void check(const Request& request) const;
  void take_inbox();
  void compute(const std::vector<Turn>& turns);
  void take_logits(const Turn& turn, const float* logits, int64_t rows);
  void score_prompt(Sequence& sequence, const float* logits, int64_t rows);
  void begin_others(Group& group);
  void tell(Group& group, Event&& event);
  void tell_news(Group& group);
  void tell_best(Group& group);
  void tell_all();
  void drop(Group& group, Finish how, const std::string& error);
  void update_stats();

  const ModelRunner& runner_;
  const Vocabulary vocabulary_;
  const MemoryPlan plan_;
  const EngineOptions options_;
  CachePool pool_;
  Scheduler scheduler_;
  Groups groups_;
  Inbox inbox_;
  EngineStats counts_;  // of the engine's thread
  mutable std::mutex stats_mutex_;
  EngineStats stats_;  // for others
};

}  // namespace swage::runtime
