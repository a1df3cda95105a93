#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <chrono>

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

// [batch, positions] int64
at::Tensor read_ids(const std::string& path) {
  const io::MmapFile file(path);
  const io::SafetensorsHeader header = io::parse_safetensors_header(file.bytes(), path);
  const auto named = std::find_if(header.tensors.begin(), header.tensors.end(),
                                  [](const io::StoredTensor& tensor) { return tensor.spec.name == "input_ids"; });
  SWAGE_CHECK(named != header.tensors.end() || header.tensors.size() == 1, InvalidArgument, path, ": holds ",
              header.tensors.size(), " tensors, none of them called input_ids; name the token ids so");
  const io::StoredTensor& ids = named != header.tensors.end() ? *named : header.tensors[0];
  const bool wide = ids.spec.dtype == io::Dtype::I64;
  SWAGE_CHECK((wide || ids.spec.dtype == io::Dtype::I32) && ids.spec.shape.size() == 2 && ids.bytes > 0,
              InvalidArgument, path, ": ", ids.spec.name, " has shape ", io::shape_text(ids.spec.shape),
              "; token ids are int64 or int32, [batch, positions], and not empty");
  void* data = const_cast<char*>(file.bytes().data() + ids.offset);
  return at::from_blob(data, ids.spec.shape, at::TensorOptions(wide ? at::kLong : at::kInt)).to(at::kLong, false, true);
}

}  // namespace

Json save_logits(const LogitsOptions& options, const Context& context) {
  return api::guard(context, [&] {
    const auto start = std::chrono::steady_clock::now();
    const at::Tensor ids_NT = read_ids(options.token_ids);
    const checkpoint::Reader reader(resolve_model(options.model, options.hub, context));
    const format::CheckpointWeights weights(reader, ops::to_torch(context.device));
    const auto model = model::make_model(reader.config(), weights, ops::to_torch(context.device), context.architecture);
    const int64_t batch = ids_NT.size(0), positions = ids_NT.size(1), vocabulary = model->vocabulary_size();
    const io::TensorSpec spec{"logits", io::Dtype::F32, {batch, positions, vocabulary}};
    io::AtomicFile out(options.output);
    out.write(io::safetensors_header({spec}));
    for (int64_t first = 0; first < batch; first += kRowsAtOnce) {
      const at::Tensor rows_NT = ids_NT.narrow(0, first, std::min(kRowsAtOnce, batch - first));
      model->load_ends(weights);
      std::vector<model::Flow> flows = eval::embed_rows(*model, rows_NT);
      eval::run_blocks(*model, weights, flows, context, [](int64_t) {});
      for (const model::Flow& flow : flows)
        out.write(ops::bytes_of(model->logits(flow.hidden_TD).to(at::kCPU, at::kFloat).contiguous()));
    }
    out.commit();
    Json result = Json::object();
    result.set("model", options.model);
    result.set("batch", batch);
    result.set("positions", positions);
    result.set("vocabulary", vocabulary);
    result.set("seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return result;
  });
}

}  // namespace swage
