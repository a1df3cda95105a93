#include "swage/resolve/rescaling.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <set>

#include "swage/base/error.h"
#include "swage/checkpoint/reader.h"
#include "swage/scheme/matching.h"

namespace swage::pipeline {
namespace {

using model::SmoothingPair;
using modifiers::Mapping, modifiers::Rescaler;

// Whether the scales of a quantized linear can be divided row by row after it was solved.
bool scales_divide(const scheme::QuantizationArgs& weights) {
  using scheme::Strategy;
  const bool float_scale =
      !weights.scale_dtype || (*weights.scale_dtype != "torch.uint8" && *weights.scale_dtype != "torch.float8_e4m3fn");
  return float_scale && (weights.strategy == Strategy::Channel || weights.strategy == Strategy::Group);
}

// The mappings of one rescaler against the pairs of the architecture.
class Selection {
 public:
  explicit Selection(const Rescaler& rescaler)
      : rescaler_(rescaler),
        ignore_(rescaler.ignore()),
        matched_(rescaler.mappings().size(), false) {
    for (const Mapping& mapping : rescaler.mappings()) {
      smooth_.emplace_back(std::vector<std::string>{mapping.smooth});
      balance_.emplace_back(mapping.balance);
    }
  }

  bool takes(const SmoothingPair& pair) {
    const scheme::ModuleName producer{pair.producer, pair.norm ? "Norm" : "Linear"};
    if (ignore_.match(producer)) return false;
    if (smooth_.empty()) return pair.norm || rescaler_.follows_linears();
    for (size_t i = 0; i < smooth_.size(); ++i) {
      const auto balanced = [&](const std::string& name) { return balance_[i].match({name, "Linear"}); };
      if (!smooth_[i].match(producer) || std::none_of(pair.consumers.begin(), pair.consumers.end(), balanced)) continue;
      matched_[i] = true;
      return true;
    }
    return false;
  }

  void check_all_matched() const {
    for (size_t i = 0; i < matched_.size(); ++i) {
      SWAGE_CHECK(
          matched_[i], InvalidArgument, rescaler_.name(), ": mappings: ", rescaler_.mappings()[i].smooth, " -> ",
          rescaler_.mappings()[i].balance[0],
          ": no layer of this architecture can be divided and no such linear multiplied without changing the model");
    }
  }

 private:
  const Rescaler& rescaler_;
  scheme::Patterns ignore_;
  std::vector<scheme::Patterns> smooth_, balance_;
  std::vector<bool> matched_;
};

bool quantizes(const Assignment& assignment, const SmoothingPair& pair) {
  return std::any_of(pair.consumers.begin(), pair.consumers.end(),
                     [&](const std::string& name) { return assignment.find(name) != nullptr; });
}

// Whether one of the first `count` modifiers that round has the pair's producer or a consumer: that is done before the
// pair's turn comes.
bool is_rounded_before(const SmoothingPair& pair, size_t count, const modifiers::Chain& chain,
                       const Assignment& assignment) {
  const auto rounds = [&](const std::string& module) {
    if (assignment.find(module) == nullptr) return false;
    const auto end = chain.quantizers.begin() + int64_t(count);
    return std::find(chain.quantizers.begin(), end, &assignment.quantizer_of(module)) != end;
  };
  return rounds(pair.producer) || std::any_of(pair.consumers.begin(), pair.consumers.end(), rounds);
}

// Why a pair is left alone; empty if it need not be.
std::string obstacle_to(const SmoothingPair& pair, const Assignment& assignment, const OnlineRotations* rotations) {
  const auto is_rotated = [&](const std::string& consumer) { return rotations->inputs().contains(consumer); };
  const bool rotated = rotations != nullptr && (rotations->outputs().contains(pair.producer) ||
                                                std::any_of(pair.consumers.begin(), pair.consumers.end(), is_rotated));
  if (rotated) return "the reader rotates what is between them";
  const scheme::Scheme* producer = assignment.find(pair.producer);
  if (producer != nullptr && !scales_divide(*producer->weights))
    return "the producer's scheme has no float scale for each row";
  if (pair.cached && assignment.kv_cache) return "the scales of the KV cache are those of the values as they are";
  return {};
}

void note_rewritten(const Rescaling& rescaling, const Assignment& assignment, Rescalings& out) {
  const SmoothingPair& pair = rescaling.pair;
  if (assignment.find(pair.producer) == nullptr) out.rewritten.insert(pair.producer + ".weight");
  if (pair.bias) out.rewritten.insert(pair.producer + ".bias");
  for (const std::string& consumer : pair.consumers) {
    if (assignment.find(consumer) == nullptr) out.rewritten.insert(consumer + ".weight");
  }
  out.follow_linears = out.follow_linears || !pair.norm;
}

}  // namespace

Rescalings resolve_rescalings(const modifiers::Chain& chain, const model::Model& model, const Assignment& assignment,
                              const OnlineRotations* rotations) {
  Rescalings out;
  if (chain.rescalers.empty()) return out;
  std::vector<Selection> selections;
  for (const Rescaler* rescaler : chain.rescalers) selections.emplace_back(*rescaler);
  std::vector<bool> idle(selections.size(), false);  // some of what it would rescale is rounded before
  std::set<const Rescaler*> busy;
  out.of_block.resize(size_t(model.blocks()));
  for (int64_t b = 0; b < model.blocks(); ++b) {
    for (SmoothingPair& pair : model.smoothing_pairs(b)) {
      Rescaling rescaling{std::move(pair), {}};
      for (size_t i = 0; i < selections.size(); ++i) {
        if (!selections[i].takes(rescaling.pair)) continue;
        const bool late = is_rounded_before(rescaling.pair, chain.quantizers_before[i], chain, assignment);
        if (late)
          idle[i] = true;
        else
          rescaling.by.push_back(chain.rescalers[i]);
      }
      const bool has_purpose = chain.quantizers.empty() || quantizes(assignment, rescaling.pair);
      if (rescaling.by.empty() || !has_purpose) continue;
      const std::string obstacle = obstacle_to(rescaling.pair, assignment, rotations);
      if (!obstacle.empty()) {
        out.warnings.push_back(
            cat(rescaling.pair.producer, " -> ", rescaling.pair.consumers[0], ": not rescaled, as ", obstacle));
        continue;
      }
      note_rewritten(rescaling, assignment, out);
      for (const Rescaler* by : rescaling.by) busy.insert(by);
      out.of_block[size_t(b)].push_back(std::move(rescaling));
    }
  }
  for (const Selection& selection : selections) selection.check_all_matched();
  for (size_t i = 0; i < idle.size(); ++i) {
    SWAGE_CHECK(!idle[i] || busy.contains(chain.rescalers[i]), InvalidArgument, chain.rescalers[i]->name(),
                " stands behind ", chain.quantizers[chain.quantizers_before[i] - 1]->name(),
                ": weights are rescaled before they are quantized; put it first");
  }
  return out;
}

at::Tensor divide_norm(const at::Tensor& w_I, at::ScalarType stored, at::Tensor& s_I, double offset) {
  const at::Tensor whole_I = offset != 0 ? w_I.add(offset) : w_I;
  const at::Tensor divided_I = offset != 0 ? whole_I.div(s_I).sub_(offset).to(stored) : whole_I.div(s_I).to(stored);
  const at::Tensor after_I = offset != 0 ? divided_I.to(at::kFloat).add(offset) : divided_I.to(at::kFloat);
  const at::Tensor quotient_I = whole_I.div(after_I);
  s_I = at::where(after_I.eq(0).logical_or(whole_I.eq(0)), s_I, quotient_I);
  return divided_I;
}

at::Tensor scales_of_producer(const at::Tensor& s_I, const SmoothingPair& pair) {
  const at::Tensor made_R = s_I.view({-1, pair.repeats, pair.run}).select(1, 0).reshape({-1});
  if (pair.rows.all()) return made_R;
  const graph::RowSlice& rows = pair.rows;
  at::Tensor all_O = at::ones({pair.producer_rows}, s_I.options());
  all_O.view({rows.groups, rows.stride}).narrow(1, rows.first, rows.size).copy_(made_R.view({rows.groups, rows.size}));
  return all_O;
}

}  // namespace swage::pipeline
