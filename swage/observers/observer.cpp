#include "swage/observers/observer.h"
#include "swage/ops/device.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "swage/base/error.h"
#include "swage/observers/grid_of.h"
#include "swage/observers/kinds.h"

namespace swage::observers {
namespace {

using Make = std::function<std::unique_ptr<Observer>(const scheme::QuantizationArgs&, Role)>;

struct Row {
  std::string name;
  std::vector<std::string> settings;
  Make make;
  bool importance = false;
};

Make min_max(Memory memory) {
  return [memory](const scheme::QuantizationArgs& args, Role role) { return make_min_max(args, role, memory); };
}
Make mse(Memory memory, const RangeFactors& factors) {
  return [memory, factors](const scheme::QuantizationArgs& args, Role role) {
    return make_mse(args, role, memory, factors);
  };
}

const std::vector<Row>& table() {
  const std::vector<std::string> search{
      "maxshrink", "patience", "grid", "norm", "expand", "triton_error_buffer", "strict", "averaging_constant"};
  const RangeFactors plain, expanded{1.8, 1 - 0.8 / 1.8, 200, 2.4, 1000, false};
  const RangeFactors imatrix{1, 0.95, 20, 3, 5, true}, expanded_imatrix{1.8, 1 - 0.8 / 1.8, 200, 2.4, 1000, true};
  static const std::vector<Row> rows{{"memoryless_minmax", {"averaging_constant"}, min_max(Memory::None)},
                                     {"static_minmax", {"averaging_constant"}, min_max(Memory::All)},
                                     {"minmax", {"averaging_constant"}, min_max(Memory::Average)},
                                     {"memoryless_mse", search, mse(Memory::None, plain)},
                                     {"mse", search, mse(Memory::Average, plain)},
                                     {"nvfp4_expanded_mse", search, mse(Memory::None, expanded)},
                                     {"fouroversix", search, mse(Memory::None, expanded)},
                                     {"imatrix_mse", search, mse(Memory::None, imatrix), true},
                                     {"nvfp4_expanded_imatrix", search, mse(Memory::None, expanded_imatrix), true},
                                     {"percentile", {"percentile"}, make_percentile}};
  return rows;
}

// As the reference's registry has it: in any case, with - for _.
std::string standard(std::string name) {
  for (char& c : name) c = c == '-' ? '_' : char(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

const Row& row_named(const std::string& name) {
  const std::string wanted = standard(name);
  std::string known;
  for (const Row& row : table()) {
    if (row.name == wanted) return row;
    known += (known.empty() ? "" : ", ") + row.name;
  }
  throw Error(ErrorKind::InvalidArgument, cat("observer \"", name, "\": expected one of ", known));
}

// The name that counts: weights are seen once, and have nothing to average.
std::string resolved(const std::string& name, const scheme::QuantizationArgs& args, Role role) {
  const std::string asked = standard(name.empty() ? args.observer.value_or("minmax") : name);
  if (role != Role::Weight) return asked;
  if (asked == "minmax" || asked == "static_minmax") return "memoryless_minmax";
  return asked == "mse" ? "memoryless_mse" : asked;
}

}  // namespace

Observer::Observer(scheme::QuantizationArgs args, Role role) : args_(std::move(args)), role_(role) {
  using scheme::Strategy;
  const Strategy strategy = args_.strategy;
  const bool of_weights = strategy == Strategy::Channel || strategy == Strategy::Block;
  const bool of_flows = strategy == Strategy::Token || strategy == Strategy::AttnHead;
  SWAGE_CHECK(role != Role::Weight || !of_flows, InvalidArgument, "observer: weights have no strategy ",
              scheme::name_of(strategy));
  SWAGE_CHECK(role != Role::Activation || !(of_weights || of_flows), InvalidArgument,
              "observer: static activations have no strategy ", scheme::name_of(strategy));
  SWAGE_CHECK(role != Role::Attention || strategy == Strategy::Tensor || strategy == Strategy::AttnHead,
              InvalidArgument, "observer: attention has strategies tensor and attn_head, not ",
              scheme::name_of(strategy));
}

BatchRange Observer::range_of(const at::Tensor& x) const {
  if (x.numel() == 0) return {};
  const int64_t dimensions = role_ == Role::Weight ? 2 : role_ == Role::Attention ? 3 : x.dim();
  SWAGE_CHECK(ops::on_host(x) && x.dim() == dimensions && x.dim() > 0, InvalidArgument,
              "observer: expected a CPU tensor of ", dimensions, " dimensions, got ", x.sizes());
  at::Tensor rows = x.contiguous();
  if (role_ == Role::Activation) rows = rows.view({-1, x.size(-1)});
  if (role_ == Role::Attention) rows = rows.view({x.size(0), -1});
  BatchRange out = measure(rows, grid_of(args_, x.scalar_type(), role_ == Role::Activation));
  out.values = static_cast<double>(x.numel());
  return out;
}

void Observer::add(const BatchRange& batch) {
  if (!batch.low.defined()) return;
  SWAGE_CHECK(!has_range() || batch.low.scalar_type() == low_.scalar_type(), InvalidArgument, "observer: batches of ",
              low_.scalar_type(), " and ", batch.low.scalar_type());
  join(batch);
}

double Observer::absmax() const {
  SWAGE_CHECK(has_range(), InvalidArgument, "observer: nothing was observed");
  return std::max({-low_.min().to(at::kDouble).item<double>(), high_.max().to(at::kDouble).item<double>(), 0.0});
}

void Observer::set_importance(const at::Tensor& sum_I, int64_t tokens) {
  SWAGE_CHECK(weighs_columns_, InvalidArgument, "observer: importance is for the imatrix observers");
  SWAGE_CHECK(sum_I.dim() == 1 && sum_I.numel() > 0 && tokens > 0, InvalidArgument,
              "imatrix observer: expected sums of squares of the columns over tokens, got ", sum_I.sizes(), " over ",
              tokens);
  const at::Tensor mean_I = sum_I.to(at::kCPU, at::kFloat).div(static_cast<double>(tokens));
  const double least = mean_I.min().item<double>(), mean = mean_I.mean().item<double>();
  SWAGE_CHECK(std::isfinite(mean) && least >= 0, InvalidArgument,
              "imatrix observer: squares of inputs are negative or not finite");
  // Inputs that are all zero weigh no column more than another.
  importance_I_ = mean > 0 ? mean_I.div(mean_I.mean().add(std::numeric_limits<float>::min())) : mean_I.add(1);
}

QuantizationParameters Observer::scale_and_zero_point(at::ScalarType stored_dtype,
                                                      const at::Tensor& global_scale) const {
  SWAGE_CHECK(has_range(), InvalidArgument, "observer: nothing was observed");
  const solvers::GridSpec spec = grid_of(args_, stored_dtype, role_ == Role::Activation);
  QuantizationParameters out;
  if (spec.scale_dtype == at::kFloat8_e4m3fn)
    out.global_scale = global_scale.defined() ? global_scale : solvers::global_scale_of(absmax(), low_.scalar_type());
  solvers::RangeScales scales = solvers::scales_of_ranges(low_, high_, spec, low_.scalar_type(), out.global_scale);
  if (args_.strategy == scheme::Strategy::AttnHead) {
    scales.scale = scales.scale.view({-1, 1, 1});
    if (scales.zero_point.defined()) scales.zero_point = scales.zero_point.view({-1, 1, 1});
  }
  out.scale = scales.scale;
  out.zero_point = scales.zero_point;
  return out;
}

std::unique_ptr<Observer> make_observer(const std::string& name, const scheme::QuantizationArgs& args, Role role) {
  const Row& row = row_named(resolved(name, args, role));
  for (const auto& [key, value] : args.observer_kwargs.as_object()) {
    SWAGE_CHECK(std::find(row.settings.begin(), row.settings.end(), key) != row.settings.end(), InvalidArgument,
                "observer ", row.name, " has no setting \"", key, "\"");
  }
  return row.make(args, role);
}

std::vector<std::string> observer_names() {
  std::vector<std::string> names;
  for (const Row& row : table()) names.push_back(row.name);
  return names;
}

bool needs_importance(const std::string& name) { return row_named(name).importance; }

bool is_min_max(const scheme::QuantizationArgs& args, Role role) {
  return resolved("", args, role) == "memoryless_minmax";
}

at::Tensor shared_global_scale(const std::vector<const Observer*>& observers) {
  SWAGE_CHECK(!observers.empty(), InvalidArgument, "shared_global_scale: no observers");
  double absmax = 0;
  for (const Observer* observer : observers) absmax = std::max(absmax, observer->absmax());
  return solvers::global_scale_of(absmax, observers[0]->low().scalar_type());
}

}  // namespace swage::observers
