// Which tokens of which sequences are computed next. One token of every sequence that is being continued comes first;
// prompts take what is left of a step, in pieces, the oldest first. When no block of the cache is left, the youngest
// sequence gives its own back and is computed again later. Clients take turns by the tokens that they were served.
#pragma once
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "swage/runtime/sequence.h"

namespace swage::runtime {

struct SchedulerOptions {
  int64_t step_tokens = 256;    // computed in one step
  int64_t most_sequences = 64;  // that are computed side by side
  int64_t beside_tokens = 256;  // of prompts, in a step that goes on with an answer too, which waits for it
};

struct Turn {
  Sequence* sequence;
  int64_t tokens;                   // the next ones that are not in the cache,
  std::vector<int64_t> draft = {};  // and guesses of those behind them
};

// Not thread-safe.
class Scheduler {
 public:
  // `context`: tokens of a sequence at most.
  Scheduler(CachePool& pool, const SchedulerOptions& options, int64_t context)
      : pool_(pool),
        options_(options),
        context_(context) {}

  // Behind the client's others, or before them.
  void add(Sequence& sequence, bool first = false);
  // Gives back what it holds and forgets it.
  void remove(Sequence& sequence);
  // Turns whose sequences have room in the cache for them. Empty if nothing waits.
  std::vector<Turn> next();

  int64_t running() const { return int64_t(running_.size()); }
  int64_t waiting() const { return waiting_count_; }
  int64_t preemptions() const { return preemptions_; }

 private:
  struct Client {
    std::deque<Sequence*> waiting;
    int64_t running = 0;
    uint64_t served = 0;  // tokens
  };

  // Room for the turn; sequences younger than this one give way, and it itself if there are none.
  bool make_room(Sequence& sequence, int64_t tokens);
  void preempt(size_t index);
  // What may follow a sequence's text, as far as this step and the cache have room for it.
  std::vector<int64_t> draft_for(Sequence& sequence);
  void give_turn(Sequence& sequence, int64_t tokens);
  bool admit();
  bool fits_beside(const Sequence& sequence) const;
  Client* next_client();
  void begin(Client& client);
  void stop_running(size_t index);

  CachePool& pool_;
  const SchedulerOptions options_;
  const int64_t context_;
  std::vector<Sequence*> running_;  // the oldest first
  std::map<std::string, Client> clients_;
  std::vector<Turn> turns_;
  int64_t left_ = 0, rows_left_ = 0;  // tokens of the step, and logits beside one for each sequence
  int64_t waiting_count_ = 0, preemptions_ = 0;
};

}  // namespace swage::runtime
