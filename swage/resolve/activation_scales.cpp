#include "swage/resolve/activation_scales.h"

#include <ATen/ops/index_select.h>

#include "swage/base/error.h"
#include "swage/checkpoint/reader.h"
#include "swage/eval/forward.h"
#include "swage/solvers/grid.h"

namespace swage::pipeline {
namespace {

using scheme::Dynamic, scheme::QuantizationArgs, scheme::Strategy;

at::Tensor seen_by(const model::Flow& flow, int expert) {
  const at::Tensor rows = expert < 0 ? at::Tensor() : flow.routed_rows_of(expert);
  return (rows.defined() ? flow.input_TI.index_select(0, rows) : flow.input_TI).to(at::kCPU, at::kFloat);
}

at::ScalarType as_stored(const QuantizationArgs& args, at::ScalarType stored) {
  return checkpoint::scalar_type_of(scale_dtype_of(args, checkpoint::dtype_of(stored)));
}

}  // namespace

io::Dtype scale_dtype_of(const QuantizationArgs& args, io::Dtype stored) {
  if (args.scale_dtype == "torch.float32") return io::Dtype::F32;
  if (args.scale_dtype == "torch.bfloat16") return io::Dtype::BF16;
  return args.scale_dtype == "torch.float16" ? io::Dtype::F16 : stored;
}

bool needs_range(const QuantizationArgs& activations) { return activations.dynamic != Dynamic::Yes; }

std::unique_ptr<observers::Observer> observe_inputs(const QuantizationArgs& activations,
                                                    const std::vector<model::Flow>& flows, int expert,
                                                    const std::shared_ptr<const ops::Transform>& transform,
                                                    const std::function<void(size_t)>& done) {
  auto observer = observers::make_observer("", activations, observers::Role::Activation);
  std::vector<observers::BatchRange> ranges(flows.size());
  eval::for_each_parallel(int64_t(flows.size()), [&](int64_t i) {
    const at::Tensor x_TI = seen_by(flows[size_t(i)], expert);
    ranges[size_t(i)] = observer->range_of(transform ? transform->columns(x_TI) : x_TI);
    done(size_t(i));
  });
  for (const observers::BatchRange& range : ranges) observer->add(range);
  return observer->has_range() || expert < 0 ? std::move(observer)
                                             : observe_inputs(activations, flows, -1, transform, done);
}

model::ActivationQuantization input_quantization(const QuantizationArgs& args, const observers::Observer* observed,
                                                 at::ScalarType stored) {
  model::ActivationQuantization out{.args = args};
  if (args.dynamic == Dynamic::Yes) return out;
  if (args.dynamic == Dynamic::Local) {
    out.global_scale = solvers::global_scale_of(observed->absmax(), stored);
    return out;
  }
  const observers::QuantizationParameters found = observed->scale_and_zero_point(stored);
  out.scale = found.scale;
  out.zero_point = found.zero_point;
  return out;
}

std::vector<io::TensorSpec> input_specs(const QuantizationArgs& args, io::Dtype scale_dtype) {
  std::vector<io::TensorSpec> out;
  if (args.dynamic == Dynamic::Local) out.push_back({"input_global_scale", io::Dtype::F32, {1}});
  if (args.dynamic == Dynamic::No) out.push_back({"input_scale", scale_dtype_of(args, scale_dtype), {1}});
  if (args.dynamic == Dynamic::No && !args.symmetric) out.push_back({"input_zero_point", io::Dtype::I8, {1}});
  return out;
}

void put_input(checkpoint::Writer& writer, const std::string& module, const model::ActivationQuantization& input,
               at::ScalarType stored) {
  if (input.global_scale.defined()) writer.put(module + ".input_global_scale", input.global_scale);
  if (input.scale.defined()) writer.put(module + ".input_scale", input.scale.to(as_stored(input.args, stored)));
  if (input.zero_point.defined()) writer.put(module + ".input_zero_point", input.zero_point.to(at::kChar));
}

std::vector<io::TensorSpec> head_specs(const std::vector<std::string>& names, const QuantizationArgs& args,
                                       int64_t heads, io::Dtype scale_dtype) {
  std::vector<io::TensorSpec> out;
  for (const std::string& name : names) {
    out.push_back({name, scale_dtype_of(args, scale_dtype),
                   args.strategy == Strategy::AttnHead ? std::vector<int64_t>{heads, 1, 1} : std::vector<int64_t>{1}});
  }
  return out;
}

HeadObserver::HeadObserver(const QuantizationArgs& args, size_t flows)
    : args_(args),
      observer_(observers::make_observer("", args, observers::Role::Attention)),
      ranges_(flows) {}

void HeadObserver::observe(size_t index, const at::Tensor& x_HTE) {
  ranges_[index] = observer_->range_of(x_HTE.to(at::kCPU, at::kFloat));
}

void HeadObserver::put(checkpoint::Writer& writer, const std::string& name, at::ScalarType stored) {
  for (const observers::BatchRange& range : ranges_) observer_->add(range);
  writer.put(name, observer_->scale_and_zero_point(stored).scale.to(as_stored(args_, stored)));
}

}  // namespace swage::pipeline
