// Memory ledger of a run: which buffers are there, from the action that takes one to the action that gives it back, and
// the moment at which all that is there is most. Filled from shapes before a run; tests compare it with what the run
// really holds.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "swage/schedule/plan_stage.h"

namespace swage::pipeline {

struct PlanInput;

// Parts of one moment, in the order given. Those that move with the model go to the device, if there is one.
class Moment {
 public:
  explicit Moment(const PlanInput& in);
  Moment& host(const std::string& name, double bytes) { return add(name, bytes, false); }
  Moment& moves(const std::string& name, double bytes) { return add(name, bytes, on_device_); }
  uint64_t host_bytes() const;
  uint64_t device_bytes() const;
  const std::vector<PlanPart>& parts() const { return parts_; }

 private:
  Moment& add(const std::string& name, double bytes, bool on_device);

  bool on_device_;
  std::vector<PlanPart> parts_;
};

// Keeps the larger of what `stage` holds and `moment`: the host's memory counts, the device's where a device is used.
void keep_larger(PlanStage& stage, const Moment& moment, const std::string& at);

// What a calibrated pass holds from one action to another, in the order in which a plan lists it.
enum class Buffer {
  TokenIds,
  Weights,       // of a layer, or of an end of the model
  FloatWeights,  // of the float model that runs beside the quantized one
  Activations,
  SolvedWeights,  // that wait to be written
  Allocator,      // freed pieces that it keeps until the layer is done
  Gram,           // the Gram matrix of the stage's input
  GramScratch,    // inputs packed for it
  Probes,         // quantized weights that are tried, and the residual streams that they give
};

// What is there for a part of an action alone.
struct Beside {
  const char* name;
  double bytes;
  bool moves = true;  // with the model, to a device
};

class Ledger {
 public:
  // `stage` takes up the largest moment.
  Ledger(const PlanInput& in, PlanStage& stage) : in_(in), stage_(stage) {}

  // What follows, up to end_action(), is said by the next action, which is at `where` ("layer 3, mlp input").
  void begin_action(const std::string& where);
  void end_action() { moment({}); }
  // From now on the buffer takes so many bytes; 0: it is given back.
  void hold(Buffer buffer, double bytes);
  double held(Buffer buffer) const { return slots_[size_t(buffer)].bytes; }
  // What is held now, and this besides, is there at once.
  void moment(std::initializer_list<Beside> besides);

  // A buffer from the action that takes it to the one that gives it back; the most that it takes in between.
  struct Lifetime {
    Buffer buffer;
    double bytes;
    size_t first, last;
  };
  // Those that were given back, and those still held up to the last action.
  std::vector<Lifetime> lifetimes() const;
  // The most that each action has declared, without the process and what its allocator keeps.
  const std::vector<double>& declared() const { return declared_; }

 private:
  struct Slot {
    double bytes = 0, most = 0;
    size_t first = 0;
  };
  static constexpr size_t kBuffers = size_t(Buffer::Probes) + 1;

  size_t action() const { return declared_.size() - 1; }

  const PlanInput& in_;
  PlanStage& stage_;
  std::string at_;
  Slot slots_[kBuffers] = {};
  std::vector<Lifetime> ended_;
  std::vector<double> declared_;
  double largest_ = 0;  // of all moments, the process included
};

}  // namespace swage::pipeline
