#include "swage/schedule/ledger.h"

#include <algorithm>

#include "swage/schedule/plan_input.h"

namespace swage::pipeline {
namespace {

constexpr const char* kProcess = "process";
constexpr const char* kAllocatorKeeps = "kept by the allocator";

struct Place {
  const char* name;
  bool moves;  // with the model, to a device
};

constexpr Place kPlaces[] = {{kProcess, false},       {"weights of a layer", true}, {"float weights", true},
                             {"activations", true},   {"solved weights", false},    {kAllocatorKeeps, false},
                             {"Gram matrices", true}, {"Gram matrices", true},      {"probes", true}};

}  // namespace

Moment::Moment(const PlanInput& in) : on_device_(in.on_device) { host(kProcess, in.process_bytes); }

uint64_t Moment::host_bytes() const {
  uint64_t sum = 0;
  for (const PlanPart& part : parts_) sum += part.host;
  return sum;
}

uint64_t Moment::device_bytes() const {
  uint64_t sum = 0;
  for (const PlanPart& part : parts_) sum += part.device;
  return sum;
}

Moment& Moment::add(const std::string& name, double bytes, bool on_device) {
  if (bytes <= 0) return *this;
  const auto same = [&](const PlanPart& part) { return part.name == name; };
  auto part = std::find_if(parts_.begin(), parts_.end(), same);
  if (part == parts_.end()) part = parts_.insert(parts_.end(), PlanPart{name});
  (on_device ? part->device : part->host) += uint64_t(bytes);
  return *this;
}

void keep_larger(PlanStage& stage, const Moment& moment, const std::string& at) {
  if (moment.host_bytes() + moment.device_bytes() <= stage.host_bytes() + stage.device_bytes()) return;
  stage.parts = moment.parts();
  stage.at = at;
}

void Ledger::begin_action(const std::string& where) {
  at_ = where;
  declared_.push_back(0);
  moment({});  // what it gives back is there until it does
}

void Ledger::hold(Buffer buffer, double bytes) {
  Slot& slot = slots_[size_t(buffer)];
  if (slot.bytes <= 0 && bytes > 0) slot = {0, 0, action()};
  if (slot.bytes > 0 && bytes <= 0) ended_.push_back({buffer, slot.most, slot.first, action()});
  slot.bytes = std::max(bytes, 0.0);
  slot.most = std::max(slot.most, slot.bytes);
}

void Ledger::moment(std::initializer_list<Beside> besides) {
  double all = 0;
  for (const Slot& slot : slots_) all += slot.bytes;
  for (const Beside& one : besides) all += std::max(one.bytes, 0.0);
  declared_.back() = std::max(declared_.back(), all - held(Buffer::TokenIds) - held(Buffer::Allocator));
  if (all <= largest_) return;
  largest_ = all;
  Moment now(in_);
  for (size_t i = 0; i < kBuffers; ++i) {
    if (kPlaces[i].moves)
      now.moves(kPlaces[i].name, slots_[i].bytes);
    else
      now.host(kPlaces[i].name, slots_[i].bytes);
  }
  for (const Beside& one : besides) one.moves ? now.moves(one.name, one.bytes) : now.host(one.name, one.bytes);
  keep_larger(stage_, now, at_);
}

std::vector<Ledger::Lifetime> Ledger::lifetimes() const {
  std::vector<Lifetime> out = ended_;
  for (size_t i = 0; i < kBuffers; ++i) {
    if (slots_[i].bytes > 0) out.push_back({Buffer(i), slots_[i].most, slots_[i].first, action()});
  }
  return out;
}

}  // namespace swage::pipeline
