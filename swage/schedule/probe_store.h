// What the measuring of a bit budget has found so far, on disk, so that a killed run goes on with it. After a block:
// the errors of all candidates so far, and the residual streams of the float model and of every probe that has begun.
//   JSON\n              {"identity", "blocks", "errors", "streams": [sequences, tokens, width], "probes": [units that
//   have begun], "digest"} f32 [T, D] ...      of the float model, then of each probe; little-endian
#pragma once
#include <ATen/core/Tensor.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace swage::pipeline {

struct MeasuredBlocks {
  int64_t blocks = 0;
  std::vector<std::vector<double>> errors;      // by unit and candidate
  std::vector<at::Tensor> base;                 // by sequence
  std::vector<std::vector<at::Tensor>> probes;  // by unit, then as `base`; empty where it has not begun
};

// For one thread.
class ProbeStore {
 public:
  // `identity` is all that the figures depend on. `on_save` is called when there is something to keep.
  ProbeStore(std::filesystem::path file, std::string identity, std::function<void()> on_save)
      : file_(std::move(file)),
        identity_(std::move(identity)),
        on_save_(std::move(on_save)) {}

  // What an earlier process kept. Nothing if there is no such file, it is damaged, or belongs to another job: then all
  // is measured.
  std::optional<MeasuredBlocks> load() const;
  // Replaces the file, unless that would take more than a tenth of the time: large streams are saved now and then.
  void save(const MeasuredBlocks& measured);

 private:
  using Clock = std::chrono::steady_clock;
  std::filesystem::path file_;
  std::string identity_;
  std::function<void()> on_save_;
  Clock::time_point saved_ = Clock::now();
  Clock::duration took_{};
};

}  // namespace swage::pipeline
