#include "swage/job/self_check.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/checkpoint/reader.h"
#include "swage/eval/forward.h"
#include "swage/eval/perplexity.h"
#include "swage/format/weight_source.h"
#include "swage/ops/device.h"
#include "swage/resolve/output.h"

namespace swage::pipeline {

namespace {

// Gives back the pages of everything that is stored of a module: what was read once would else stay, up to the size of
// the output.
void drop_module(const checkpoint::Reader& reader, const std::string& module) {
  const std::string prefix = module + ".";
  const std::vector<io::TensorSpec>& tensors = reader.tensors();  // sorted by name
  auto spec = std::lower_bound(tensors.begin(), tensors.end(), prefix,
                               [](const io::TensorSpec& a, const std::string& name) { return a.name < name; });
  for (; spec != tensors.end() && spec->name.starts_with(prefix); ++spec) reader.drop(spec->name);
}

}  // namespace

void check_files(const std::filesystem::path& folder, const std::vector<ModuleReport>& modules) {
  const checkpoint::Reader reader(folder);
  const format::CheckpointWeights weights(reader);
  eval::for_each_parallel(int64_t(modules.size()), [&](int64_t i) {
    const ModuleReport& module = modules[size_t(i)];
    const uint64_t found = module.dense ? fingerprint(reader.view(module.name + ".weight"))
                                        : fingerprint(weights.quantized(module.name).weight);
    SWAGE_CHECK(found == module.fingerprint, Internal, "self-check: ", module.name,
                " reads back other than it was solved");
    drop_module(reader, module.name);
  });
}

Context told_of_checking(const Context& context, const RunProgress& progress, const StageClock& clock) {
  Context told = context;
  told.progress = [&, began = clock.total_seconds(), passes = 2, last = 0.0](ProgressEvent event) mutable {
    if (event.elapsed_seconds < last) --passes;  // the next pass counts from zero
    last = event.elapsed_seconds;
    const double of_pass = event.eta_seconds, whole_pass = event.elapsed_seconds + of_pass;
    event.stage = "checking";
    event.elapsed_seconds = clock.total_seconds();
    event.rss_bytes = current_rss_bytes();
    context.progress(progress.of_run(event, "check", began, of_pass + (passes - 1) * whole_pass));
  };
  return told;
}

bool has_perplexity(const graph::ModelProgram& model, const eval::Masking& masking) {
  if (model.target) return false;
  return model.predicts == graph::Predicts::Next || (model.predicts == graph::Predicts::Masked && masking.token >= 0);
}

Json check_perplexity(model::Model& model, const checkpoint::WeightSource& source, const std::filesystem::path& folder,
                      const at::Tensor& windows_NL, const eval::Masking& masking, const Context& context,
                      double most_nats) {
  const at::Device device = ops::to_torch(context.device);
  const checkpoint::Reader reader(folder);
  const format::CheckpointWeights output(reader, device);
  const eval::PerplexityOptions options{.masking = masking};
  const eval::Perplexity before = eval::perplexity(model, source, windows_NL, context, options);
  model.drop_ends();
  // As a user opens it: tensor names may differ from the source's, where fused experts became single ones.
  const std::unique_ptr<model::Model> compressed =
      model::make_model(reader.config(), output, device, model.program().architecture);
  const eval::Perplexity after = eval::perplexity(*compressed, output, windows_NL, context, options);
  SWAGE_CHECK(after.nll() - before.nll() < most_nats, Numerical, "self-check: perplexity went from ",
              before.perplexity(), " to ", after.perplexity(), " on ", windows_NL.size(0),
              " windows: the output is corrupt or the scheme too coarse for this model");
  Json out = Json::object();
  out.set("windows", windows_NL.size(0));
  out.set("window", windows_NL.size(1));
  out.set("tokens", before.tokens);
  out.set("source_perplexity", before.perplexity());
  out.set("output_perplexity", after.perplexity());
  return out;
}

}  // namespace swage::pipeline
