// What a run is given from outside: device, seed, where messages go, and whether to stop. Passed down; there are no
// globals.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

namespace swage {

class Trace;

struct Device {
  enum class Kind { Cpu, Cuda, Auto };  // Auto: the first GPU if there is one, else the CPU
  Kind kind = Kind::Cpu;
  int index = 0;
  std::string torch_folder = {};  // where libtorch's CUDA half may lie, looked through first; empty: nowhere special
  bool f32_products =
      false;  // on a GPU products are made in f32, at an eighth of the speed, instead of bf16 with f32 sums
  bool operator==(const Device&) const = default;
};

// "auto", "cpu", "cuda" or "cuda:1"; Error(InvalidArgument) otherwise.
Device parse_device(const std::string& text);
std::string to_string(Device device);

enum class Severity { Info, Warning };

// One observation of a running job; fields that do not apply stay at their defaults.
struct ProgressEvent {
  std::string stage;   // "reading", "calibrating", "writing", "checking", ...
  int64_t layer = -1;  // 0-based; -1: not in a layer
  int64_t layers = 0;
  std::string module;  // one that was just finished, if any: of a layer the one with the largest error
  double loss = -1;    // its relative output error, if known
  int64_t modules_done = 0, modules = 0;  // of the run; 0: not counted
  bool milestone = false;                 // worth a line in a log: a layer, or one of a few dozen steps, is finished
  double tokens_per_second = 0;
  double elapsed_seconds = 0;
  double eta_seconds = -1;  // until the run ends, not the stage; -1: unknown
  int64_t rss_bytes = 0;
};

// Functions may be called from any thread, one at a time.
struct Context {
  Device device;
  uint64_t seed = 42;
  std::string architecture = {};  // model_type that the model is taken for; empty: what its config.json says
  int threads = 0;                // 0: as many as the machine gives this process
  std::function<void(Severity, const std::string&)> log = [](Severity, const std::string&) {};
  std::function<void(const ProgressEvent&)> progress = [](const ProgressEvent&) {};
  const std::atomic<bool>* cancel = nullptr;  // set by a signal handler
  Trace* trace = nullptr;  // takes down what each thread does when, if someone wants to know; see base/trace.h

  // Throws Error(Cancelled) once `cancel` is set.
  void check_cancelled() const;
};

}  // namespace swage
