// What a part of a run takes, known from shapes alone: arithmetic, traffic, and what is in memory at its largest
// moment.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace swage::pipeline {

inline constexpr double kFloat = 4;  // bytes of a float32

// Something that is in memory; bytes.
struct PlanPart {
  std::string name;
  uint64_t host = 0, device = 0;
};

// Arithmetic and traffic of a stage.
struct PlanWork {
  double linear_flops = 0;   // 2 T P of linears on float weights
  double integer_flops = 0;  // the same on integer codes
  double attention_flops = 0;
  double gram_flops = 0;   // T n^2 for each distinct input of n columns: half of the full product
  double solve_flops = 0;  // of modifiers, and of correcting their targets
  double moved_bytes = 0;  // outside of products: weights and activations read, converted, looked through
  uint64_t read_bytes = 0, written_bytes = 0;  // of files

  double flops() const { return linear_flops + integer_flops + attention_flops + gram_flops + solve_flops; }
  PlanWork& operator+=(const PlanWork& other);
};

struct PlanStage {
  std::string name;             // "embed", "calibrate", "quantize", "check"
  std::string at;               // where its memory is largest: "layer 3, mlp input"; empty: anywhere
  std::vector<PlanPart> parts;  // what is there then
  PlanWork work;
  double seconds = 0;                     // about; 0: not estimated
  std::vector<std::string> on_host = {};  // modifiers that compute on the host though the model is on a GPU

  uint64_t host_bytes() const;
  uint64_t device_bytes() const;
};

}  // namespace swage::pipeline
