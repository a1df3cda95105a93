#include "swage/pipeline/activations.h"

#include <ATen/ops/empty.h>
#include <fcntl.h>

#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/io/file_descriptor.h"

namespace swage::pipeline {

Activations::Activations(const model::Model& model, const at::Tensor& ids_NT) : flows_(size_t(ids_NT.size(0))) {
  const int64_t rows = ids_NT.size(0), tokens = ids_NT.size(1);
  const at::Tensor first_TD = model.embed(ids_NT[0], 0);
  hidden_NTD_ = at::empty({rows, tokens, first_TD.size(1)}, first_TD.options());
  eval::for_each_parallel(rows, [&](int64_t row) {
    model::Flow& flow = flows_[size_t(row)];
    flow.hidden_TD = model.embed(ids_NT[row], 0);
    flow.all_tokens_to_experts = true;
    keep(row);
  });
}

void Activations::make_room(int64_t columns) {
  const int64_t rows = hidden_NTD_.size(0), tokens = hidden_NTD_.size(1);
  if (inputs_NS_.defined() && inputs_NS_.size(1) >= tokens * columns) return;
  for (model::Flow& flow : flows_) flow.input_TI = at::Tensor();
  inputs_NS_ = at::Tensor();  // freed before the larger one is taken
  inputs_NS_ = at::empty({rows, tokens * columns}, hidden_NTD_.options());
}

void Activations::advance(const std::function<void(model::Flow&)>& work) {
  eval::for_each_parallel(int64_t(flows_.size()), [&](int64_t row) {
    work(flows_[size_t(row)]);
    keep(row);
  });
}

void Activations::scale_inputs(const at::Tensor& factor_I, bool mlp) {
  eval::for_each_parallel(int64_t(flows_.size()), [&](int64_t row) {
    model::Flow& flow = flows_[size_t(row)];
    const bool apart = flow.mlp_input_TD.defined() && flow.mlp_input_TD.const_data_ptr() != flow.input_TI.const_data_ptr();
    flow.input_TI.mul_(factor_I);
    if (mlp && apart) flow.mlp_input_TD.mul_(factor_I);
  });
}

namespace {

constexpr size_t kHeaderBytes = 128;

}  // namespace

std::string Activations::file_header(int64_t block) const {
  const at::Tensor hidden_NTD = hidden_NTD_.cpu();
  const uint64_t sum = checksum({static_cast<const char*>(hidden_NTD.const_data_ptr()), size_t(hidden_NTD.nbytes())});
  std::string header = cat("swage activations ", block, " ", hidden_NTD.size(0), " ", hidden_NTD.size(1), " ", hidden_NTD.size(2), " ", hex64(sum), "\n");
  header.resize(kHeaderBytes, ' ');
  return header;
}

void Activations::save(const std::filesystem::path& file, int64_t block) const {
  const at::Tensor hidden_NTD = hidden_NTD_.cpu();
  const io::FileDescriptor out(file, O_RDWR | O_CREAT);
  out.write_at(file_header(block), 0);
  out.write_at({static_cast<const char*>(hidden_NTD.const_data_ptr()), size_t(hidden_NTD.nbytes())}, kHeaderBytes);
  out.sync();
}

void Activations::load(const std::filesystem::path& file, int64_t block) {
  const at::Tensor hidden_NTD = at::empty(hidden_NTD_.sizes(), hidden_NTD_.options().device(at::kCPU));
  std::string header(kHeaderBytes, 0);
  const io::FileDescriptor in(file, O_RDONLY);
  in.read_at(header.data(), header.size(), 0);
  in.read_at(static_cast<char*>(hidden_NTD.mutable_data_ptr()), size_t(hidden_NTD.nbytes()), kHeaderBytes);
  hidden_NTD_.copy_(hidden_NTD);
  SWAGE_CHECK(header == file_header(block), CorruptData, file.string(), ": does not hold the activations of layer ", block, " as they were saved");
}

void Activations::keep(int64_t row) {
  model::Flow& flow = flows_[size_t(row)];
  const at::Tensor hidden_TD = hidden_NTD_[row];
  if (flow.hidden_TD.const_data_ptr() != hidden_TD.const_data_ptr()) {
    hidden_TD.copy_(flow.hidden_TD);
    if (flow.input_TI.defined() && flow.input_TI.is_same(flow.hidden_TD)) flow.input_TI = hidden_TD;
    flow.hidden_TD = hidden_TD;
  }
  if (!flow.input_TI.defined()) return;
  const at::Tensor input_TI = inputs_NS_[row].narrow(0, 0, flow.input_TI.numel()).view(flow.input_TI.sizes());
  if (flow.input_TI.const_data_ptr() == input_TI.const_data_ptr()) return;
  input_TI.copy_(flow.input_TI);
  flow.input_TI = input_TI;
}

}  // namespace swage::pipeline
