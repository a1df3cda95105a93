#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "swage/api/guard.h"
#include "swage/checkpoint/reader.h"
#include "swage/eval/forward.h"
#include "swage/format/weight_source.h"
#include "swage/io/atomic_file.h"
#include "swage/io/mmap_file.h"
#include "swage/io/safetensors.h"
#include "swage/model/model.h"
#include "swage/ops/device.h"
#include "swage/ops/tensor_bytes.h"
#include "swage/swage.h"

namespace swage {
namespace {

constexpr int64_t kRowsAtOnce = 8;  // sequences that are in the model together

// A tensor of token ids or the like, [batch, positions] int64.
at::Tensor read_one(const io::MmapFile& file, const io::StoredTensor& ids, const std::string& path) {
  const bool wide = ids.spec.dtype == io::Dtype::I64;
  SWAGE_CHECK((wide || ids.spec.dtype == io::Dtype::I32) && ids.spec.shape.size() == 2 && ids.bytes > 0,
              InvalidArgument, path, ": ", ids.spec.name, " has shape ", io::shape_text(ids.spec.shape),
              "; token ids are int64 or int32, [batch, positions], and not empty");
  void* data = const_cast<char*>(file.bytes().data() + ids.offset);
  return at::from_blob(data, ids.spec.shape, at::TensorOptions(wide ? at::kLong : at::kInt)).to(at::kLong, false, true);
}

eval::Inputs read_inputs(const std::string& path) {
  const io::MmapFile file(path);
  const io::SafetensorsHeader header = io::parse_safetensors_header(file.bytes(), path);
  const auto named = [&](const char* name) {
    const auto found = std::find_if(header.tensors.begin(), header.tensors.end(),
                                    [&](const io::StoredTensor& tensor) { return tensor.spec.name == name; });
    return found == header.tensors.end() ? at::Tensor() : read_one(file, *found, path);
  };
  eval::Inputs out{named("input_ids"), named("attention_mask"), named("token_type_ids"), named("decoder_input_ids")};
  SWAGE_CHECK(out.ids_NT.defined() || header.tensors.size() == 1, InvalidArgument, path, ": holds ",
              header.tensors.size(), " tensors, none of them called input_ids; name the token ids so");
  if (!out.ids_NT.defined()) out.ids_NT = read_one(file, header.tensors[0], path);
  for (const auto& [name, tensor] :
       {std::pair("attention_mask", &out.mask_NT), std::pair("token_type_ids", &out.types_NT)}) {
    SWAGE_CHECK(!tensor->defined() || tensor->sizes() == out.ids_NT.sizes(), InvalidArgument, path, ": ", name,
                " is not of the shape of input_ids");
  }
  SWAGE_CHECK(!out.target_ids_NU.defined() || out.target_ids_NU.size(0) == out.ids_NT.size(0), InvalidArgument, path,
              ": decoder_input_ids have other rows than input_ids");
  return out;
}

// A safetensors file with one float32 tensor that rows are appended to.
class RowFile {
 public:
  RowFile(const std::string& path, const io::TensorSpec& spec) : file_(path) {
    file_.write(io::safetensors_header({spec}));
  }

  // x [T, ...], which stands at positions from `first` on of `positions`; others are 0.
  void add(const at::Tensor& x, int64_t first, int64_t positions) {
    at::Tensor row = x.to(at::kCPU, at::kFloat).contiguous();
    if (row.size(0) < positions) {
      std::vector<int64_t> shape = x.sizes().vec();
      shape[0] = positions;
      const at::Tensor whole = at::zeros(shape, at::kFloat);
      whole.narrow(0, first, row.size(0)).copy_(row);
      row = whole;
    }
    file_.write(ops::bytes_of(row));
  }

  void commit() { file_.commit(); }

 private:
  io::AtomicFile file_;
};

// The files that were asked for.
struct Outputs {
  std::optional<RowFile> logits, hidden;

  Outputs(const LogitsOptions& options, const model::Model& model, int64_t batch, int64_t positions) {
    const graph::ModelProgram& program = model.program();
    std::vector<int64_t> shape = {batch, positions};
    if (program.predicts != graph::Predicts::Replaced) shape.push_back(program.head.rows);
    SWAGE_CHECK(options.output.empty() || program.predicts != graph::Predicts::Nothing, Unsupported, options.model,
                " has no head, and so no logits; --save-hidden saves what its layers make");
    if (!options.output.empty()) logits.emplace(options.output, io::TensorSpec{"logits", io::Dtype::F32, shape});
    if (!options.hidden_output.empty())
      hidden.emplace(options.hidden_output,
                     io::TensorSpec{"last_hidden_state", io::Dtype::F32, {batch, positions, program.hidden_size}});
  }

  void add(const model::Model& model, const eval::Unpadded& row, int64_t positions) {
    const model::Flow& flow = row.flow;
    const at::Tensor hidden_TD = flow.hidden_TD.narrow(0, flow.source_rows, flow.hidden_TD.size(0) - flow.source_rows);
    if (logits) {
      const at::Tensor logits_TV = model.logits(hidden_TD);
      const bool one = model.program().predicts == graph::Predicts::Replaced;
      logits->add(one ? logits_TV.squeeze(1) : logits_TV, row.first, positions);
    }
    if (hidden) hidden->add(model.last_hidden(hidden_TD), row.first, positions);
  }

  void commit() {
    if (logits) logits->commit();
    if (hidden) hidden->commit();
  }
};

}  // namespace

Json save_logits(const LogitsOptions& options, const Context& context) {
  return api::guard(context, [&] {
    const auto start = std::chrono::steady_clock::now();
    SWAGE_CHECK(!options.output.empty() || !options.hidden_output.empty(), InvalidArgument,
                "neither logits nor hidden states were asked for");
    const eval::Inputs inputs = read_inputs(options.token_ids);
    const checkpoint::Reader reader(resolve_model(options.model, options.hub, context));
    const format::CheckpointWeights weights(reader, ops::to_torch(context.device));
    const auto model = model::make_model(reader.config(), weights, ops::to_torch(context.device), context.architecture);
    const at::Tensor& answered = inputs.target_ids_NU.defined() ? inputs.target_ids_NU : inputs.ids_NT;
    const int64_t batch = answered.size(0), positions = answered.size(1);
    Outputs out(options, *model, batch, positions);
    for (int64_t first = 0; first < batch; first += kRowsAtOnce) {
      model->load_ends(weights);
      std::vector<int64_t> starts;
      std::vector<model::Flow> flows;
      for (int64_t row = first; row < std::min(batch, first + kRowsAtOnce); ++row) {
        eval::Unpadded one = eval::embed_row(*model, inputs, row);
        starts.push_back(one.first);
        flows.push_back(std::move(one.flow));
      }
      eval::run_blocks(*model, weights, flows, context, [](int64_t) {});
      for (size_t i = 0; i < flows.size(); ++i) out.add(*model, {flows[i], starts[i]}, positions);
    }
    out.commit();
    Json result = Json::object();
    result.set("model", options.model);
    result.set("batch", batch);
    result.set("positions", positions);
    result.set("vocabulary", model->program().head.rows);
    result.set("seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return result;
  });
}

}  // namespace swage
