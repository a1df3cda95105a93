#include "swage/pipeline/compress.h"
#include "swage/api/guard.h"
#include "swage/api/recipe_of.h"
#include "swage/api/run_settings.h"
#include "swage/base/trace.h"
#include "swage/data/data_source.h"
#include "swage/data/hub.h"
#include "swage/io/atomic_file.h"
#include "swage/offload/rows.h"
#include "swage/pipeline/compress_checks.h"
#include "swage/swage.h"

namespace swage {
namespace {

Json traced(const pipeline::CompressJob& job, const std::string& file, Context context) {
  Trace trace;
  trace.name_thread("main");
  context.trace = &trace;
  io::AtomicFile out(file);  // that it can be written is known before the work
  const auto write = [&] {
    out.write(trace.text());
    out.commit();
  };
  try {
    Json report = pipeline::run_compress(job, context);
    write();
    return report;
  } catch (const Error&) {
    try {
      write();
    } catch (const Error& e) {  // the run's own error matters more
      context.log(Severity::Warning, e.what());
    }
    throw;
  }
}

}  // namespace

Json compress(const CompressOptions& asked, const Context& context) {
  return api::guard(context, [&] {
    recipe::Recipe recipe = api::recipe_of(asked);
    CompressOptions options = asked;
    Context placed = context;
    api::take_run_settings(recipe.run, options, placed);
    for (const std::string& warning : recipe.warnings) context.log(Severity::Warning, warning);
    pipeline::CompressJob job;
    job.hub = api::hub_options(options.hub);
    if (!options.data_file.empty())
      data::parse_data_spec(options.data_file);  // a name that is nothing is known before a model is fetched
    if (!std::filesystem::exists(options.model)) job.source_id = options.model;
    job.source = data::resolve_model(options.model, job.hub, context);
    if (!options.data_file.empty())
      options.max_seq_length = pipeline::fitting_row(job.source, options.max_seq_length, placed);
    job.target = options.output;
    job.chain = modifiers::make_chain(recipe.modifiers);
    recipe.run = Json::object();
    job.recipe_yaml = recipe::to_yaml(recipe);
    recipe.run = api::run_settings_of(options, placed);
    job.saved_recipe = recipe::to_yaml(recipe);
    job.recipe_file = options.recipe_file;
    static_cast<RunOptions&>(job) = options;
    if (!options.offload_folder.empty()) offload::check_folder(options.offload_folder);
    placed.device = device_of(job.device_map, context.device);
    return options.trace_file.empty() ? pipeline::run_compress(job, placed) : traced(job, options.trace_file, placed);
  });
}

}  // namespace swage
