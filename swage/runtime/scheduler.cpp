#include "swage/runtime/scheduler.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/runtime/guess.h"

namespace swage::runtime {

void Scheduler::add(Sequence& sequence, bool first) {
  const std::string& name = sequence.group->request.client;
  const bool is_new = !clients_.contains(name);
  Client& client = clients_[name];
  if (is_new) {  // as far as those that are there: it has saved up nothing
    uint64_t least = 0;
    bool any = false;
    for (const auto& [other, one] : clients_) {
      if (other == name) continue;
      least = any ? std::min(least, one.served) : one.served;
      any = true;
    }
    client.served = least;
  }
  if (first)
    client.waiting.push_front(&sequence);
  else
    client.waiting.push_back(&sequence);
  ++waiting_count_;
}

void Scheduler::stop_running(size_t index) {
  Sequence& sequence = *running_[index];
  pool_.release(sequence.memory);
  running_.erase(running_.begin() + ptrdiff_t(index));
  std::erase_if(turns_, [&](const Turn& turn) { return turn.sequence == &sequence; });
  --clients_[sequence.group->request.client].running;
}

void Scheduler::remove(Sequence& sequence) {
  const auto found = std::find(running_.begin(), running_.end(), &sequence);
  if (found != running_.end()) stop_running(size_t(found - running_.begin()));
  const auto client = clients_.find(sequence.group->request.client);
  if (client == clients_.end()) return;
  waiting_count_ -= int64_t(std::erase(client->second.waiting, &sequence));
  if (client->second.waiting.empty() && client->second.running == 0) clients_.erase(client);
}

void Scheduler::preempt(size_t index) {
  Sequence& sequence = *running_[index];
  stop_running(index);
  sequence.computed = 0;
  add(sequence, true);
  ++preemptions_;
}

bool Scheduler::make_room(Sequence& sequence, int64_t tokens) {
  while (!pool_.grow(sequence.memory, sequence.computed + tokens)) {
    const bool is_youngest = running_.back() == &sequence;
    preempt(running_.size() - 1);
    if (is_youngest) return false;
  }
  return true;
}

void Scheduler::give_turn(Sequence& sequence, int64_t tokens) {
  const Group& group = *sequence.group;
  const bool of_prompt = group.request.prompt_logprobs && sequence.computed < sequence.prompt();
  // Logits are made of each of a prompt's tokens where they are asked for: not of more at once than of others.
  const int64_t count = std::min({tokens, left_, of_prompt ? options_.most_sequences : tokens});
  if (count <= 0 || !make_room(sequence, count)) return;
  turns_.push_back({&sequence, count, sequence.is_decoding() ? draft_for(sequence) : std::vector<int64_t>()});
  left_ -= count + int64_t(turns_.back().draft.size());
  clients_[sequence.group->request.client].served += uint64_t(count);
}

std::vector<int64_t> Scheduler::draft_for(Sequence& sequence) {
  const Request& request = sequence.group->request;
  const auto length = int64_t(sequence.ids.size());
  // A state that has seen a wrong guess cannot be taken back.
  if (request.draft_tokens == 0 || pool_.layout().state_bytes > 0) return {};
  const int64_t most = std::min({request.draft_tokens, request.max_new_tokens - sequence.made() - 1,
                                 context_ - length - 1, left_ - 1, rows_left_});
  std::vector<int64_t> draft = guess_next(sequence.ids, most);
  if (draft.empty() || !pool_.grow(sequence.memory, length + int64_t(draft.size()))) return {};
  rows_left_ -= int64_t(draft.size());
  return draft;
}

Scheduler::Client* Scheduler::next_client() {
  Client* best = nullptr;
  for (auto& [name, client] : clients_) {
    if (!client.waiting.empty() && (best == nullptr || client.served < best->served)) best = &client;
  }
  return best;
}

// Its tokens so far and one more block, so that it is not preempted at once; all blocks are its own if nobody runs.
bool Scheduler::fits_beside(const Sequence& sequence) const {
  const int64_t held = CachePool::most_blocks(pool_.layout(), int64_t(sequence.ids.size()), options_.step_tokens);
  return running_.empty() || held + 1 <= pool_.available();
}

bool Scheduler::admit() {
  Client* client = next_client();
  if (client == nullptr || running() >= options_.most_sequences || left_ <= 0) return false;
  Sequence& sequence = *client->waiting.front();
  if (!fits_beside(sequence)) return false;
  client->waiting.pop_front();
  --waiting_count_;
  ++client->running;
  const Group& group = *sequence.group;
  const bool scored = group.request.prompt_logprobs && int64_t(group.prompt.size()) < sequence.prompt();
  const bool pooled = group.request.pooling == Pooling::Mean && sequence.made() == 0;
  const bool whole = sequence.choice == 0 && (scored || pooled);
  sequence.computed = whole ? 0 : pool_.share(sequence.memory, sequence.ids, sequence.prompt());
  sequence.cached =
      std::max(sequence.cached, std::min(sequence.computed, sequence.made() == 0 ? sequence.prompt() : 0));
  running_.push_back(&sequence);
  give_turn(sequence, sequence.pending());
  return true;
}

std::vector<Turn> Scheduler::next() {
  turns_.clear();
  left_ = options_.step_tokens;
  rows_left_ = std::max<int64_t>(0, options_.most_sequences - running() - waiting());
  for (const bool decoding : {true, false}) {
    const std::vector<Sequence*> there = running_;
    for (Sequence* sequence : there) {
      const bool still = std::find(running_.begin(), running_.end(), sequence) != running_.end();
      if (still && sequence->is_decoding() == decoding) give_turn(*sequence, sequence->pending());
    }
    if (decoding && !turns_.empty()) left_ = std::min(left_, options_.beside_tokens);
  }
  const int64_t preempted = preemptions_;
  while (preemptions_ == preempted && admit()) {
  }
  return turns_;
}

}  // namespace swage::runtime
