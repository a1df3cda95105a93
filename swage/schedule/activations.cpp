#include "swage/schedule/activations.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fcntl.h>

#include <string_view>

#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/io/file_descriptor.h"
#include "swage/ops/device.h"
#include "swage/ops/tensor_bytes.h"

namespace swage::pipeline {

Activations::Activations(const model::Model& model, const at::Tensor& ids_NT, const offload::Tiers& tiers, Trace* trace)
    : trace_(trace),
      flows_(size_t(ids_NT.size(0))),
      tiers_(tiers),
      tokens_(ids_NT.size(1)) {
  const int64_t rows = ids_NT.size(0);
  {
    const at::Tensor first_TD = model.embed(ids_NT[0], 0);
    width_ = first_TD.size(1);
    options_ = first_TD.options();
  }
  hidden_ = offload::Rows(rows, tokens_ * width_, options_, tiers_);
  eval::for_each_parallel(options_.device(), rows, [&](int64_t row) {
    model::Flow& flow = flows_[size_t(row)];
    flow.hidden_TD = model.embed(ids_NT[row], 0);
    flow.all_tokens_to_experts = true;
    keep(row);
    release(size_t(row));
  });
}

void Activations::make_room(int64_t columns) {
  if (!inputs_.empty() && inputs_.numbers() >= tokens_ * columns) return;
  for (model::Flow& flow : flows_) flow.input_TI = at::Tensor();
  inputs_ = offload::Rows();  // freed before the larger one is taken
  inputs_ = offload::Rows(int64_t(flows_.size()), tokens_ * columns,
                          options_.dtype(ops::product_type(options_.device())), tiers_);
}

void Activations::advance(const std::function<void(model::Flow&)>& work, int64_t block) {
  eval::for_each_parallel(options_.device(), int64_t(flows_.size()), [&](int64_t row) {
    const TraceSpan span(trace_, "row", Trace::Kind::Compute, block);
    prefetch(row + at::get_num_threads());
    work(flows_[size_t(row)]);
    keep(row);
    release(size_t(row));
  });
}

void Activations::prefetch(int64_t row) const {
  hidden_.prefetch(row);
  inputs_.prefetch(row);
}

void Activations::release(size_t row) const {
  hidden_.release(int64_t(row));
  if (!inputs_.empty()) inputs_.release(int64_t(row));
}

void Activations::scale_inputs(const at::Tensor& factor_I, bool mlp) {
  eval::for_each_parallel(options_.device(), int64_t(flows_.size()), [&](int64_t row) {
    model::Flow& flow = flows_[size_t(row)];
    const bool apart =
        flow.mlp_input_TD.defined() && flow.mlp_input_TD.const_data_ptr() != flow.input_TI.const_data_ptr();
    flow.input_TI.mul_(factor_I);
    if (mlp && apart) flow.mlp_input_TD.mul_(factor_I);
    at::Tensor* kept = flow.input_value > 0 && size_t(flow.input_value) < flow.values.size()
                           ? &flow.values[size_t(flow.input_value)]
                           : nullptr;
    const bool is_mlp_input = kept != nullptr && kept->defined() && flow.mlp_input_TD.defined() &&
                              kept->const_data_ptr() == flow.mlp_input_TD.const_data_ptr();
    if (kept != nullptr && kept->defined() && kept->const_data_ptr() != flow.input_TI.const_data_ptr() &&
        !(mlp && is_mlp_input))
      kept->mul_(factor_I);
    release(size_t(row));
  });
}

namespace {

constexpr size_t kHeaderBytes = 128;

}  // namespace

std::string Activations::file_header(int64_t block, uint64_t sum) const {
  std::string header =
      cat("swage activations ", block, " ", flows_.size(), " ", tokens_, " ", width_, " ", hex64(sum), "\n");
  header.resize(kHeaderBytes, ' ');
  return header;
}

void Activations::save(const std::filesystem::path& file, int64_t block) const {
  const io::FileDescriptor out(file, O_RDWR | O_CREAT);
  uint64_t sum = 0, offset = kHeaderBytes;
  for (size_t row = 0; row < flows_.size(); ++row) {
    const at::Tensor hidden_TD = hidden_of(int64_t(row)).cpu();
    sum = checksum(ops::bytes_of(hidden_TD), sum);
    out.write_at(ops::bytes_of(hidden_TD), offset);
    offset += hidden_TD.nbytes();
    release(row);
  }
  out.write_at(file_header(block, sum), 0);
  out.sync();
}

void Activations::load(const std::filesystem::path& file, int64_t block) {
  const io::FileDescriptor in(file, O_RDONLY);
  uint64_t sum = 0, offset = kHeaderBytes;
  for (size_t row = 0; row < flows_.size(); ++row) {
    const at::Tensor hidden_TD = at::empty({tokens_, width_}, options_.device(at::kCPU));
    in.read_at(static_cast<char*>(hidden_TD.mutable_data_ptr()), hidden_TD.nbytes(), offset);
    sum = checksum(ops::bytes_of(hidden_TD), sum);
    offset += hidden_TD.nbytes();
    hidden_of(int64_t(row)).copy_(hidden_TD);
    release(row);
  }
  std::string header(kHeaderBytes, 0);
  in.read_at(header.data(), header.size(), 0);
  SWAGE_CHECK(header == file_header(block, sum), CorruptData, file.string(),
              ": does not hold the activations of layer ", block, " as they were saved");
}

// What the flow's tensors hold moves into this object's memory.
void Activations::keep(int64_t row) {
  model::Flow& flow = flows_[size_t(row)];
  const at::Tensor hidden_TD = hidden_of(row);
  if (flow.hidden_TD.const_data_ptr() != hidden_TD.const_data_ptr()) {
    hidden_TD.copy_(flow.hidden_TD);
    if (flow.input_TI.defined() && flow.input_TI.is_same(flow.hidden_TD)) flow.input_TI = hidden_TD;
    flow.hidden_TD = hidden_TD;
  }
  if (!flow.input_TI.defined()) return;
  const at::Tensor input_TI = inputs_.row(row).narrow(0, 0, flow.input_TI.numel()).view(flow.input_TI.sizes());
  if (flow.input_TI.const_data_ptr() == input_TI.const_data_ptr()) return;
  input_TI.copy_(flow.input_TI);
  flow.input_TI = input_TI;
}

}  // namespace swage::pipeline
