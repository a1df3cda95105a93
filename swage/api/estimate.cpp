#include <filesystem>
#include <optional>

#include "swage/api/guard.h"
#include "swage/api/recipe_of.h"
#include "swage/data/hub.h"
#include "swage/pipeline/compress_checks.h"
#include "swage/pipeline/estimate.h"
#include "swage/swage.h"

namespace swage {

namespace {

data::ModelHeaders headers_of(const std::string& model, const HubSettings& hub, const Context& context) {
  if (std::filesystem::is_regular_file(model)) return {model, nullptr};
  return data::resolve_headers(model, api::hub_options(hub), context);
}

// Rounding to a preset in groups of `group` columns, or its own if that is 0.
recipe::Recipe recipe_of_preset(const std::string& scheme, int64_t group) {
  EstimateOptions options;
  options.method = "rtn";
  options.method_fields = Json::object();
  options.method_fields.set("scheme", scheme);
  options.method_fields.set("ignore", Json(Json::Array{Json("lm_head")}));  // check_roles: allow: the default of a run
  if (group > 0) options.method_fields.set("group_size", group);
  return api::recipe_of(options);
}

// `recipe` must outlive the job. Nothing is measured: the time is not asked for.
pipeline::EstimateJob size_job(const std::filesystem::path& source, const recipe::Recipe& recipe) {
  pipeline::EstimateJob job;
  job.source = source;
  job.chain = modifiers::make_chain(recipe.modifiers);
  job.check = false;
  job.max_seq_length = 1;
  job.given = pipeline::parse_rates("gemm=1T,copy=1T,disk=1T");
  return job;
}

// Opens the model for a run that needs it open, once for all presets.
class OpenModel {
 public:
  int64_t bytes_in(const pipeline::EstimateJob& job, const Context& context) {
    if (pipeline::estimates_model_free(job, context)) return size_in(pipeline::run_estimate(job, context));
    if (!reader_) reader_.emplace(pipeline::open_for_estimate(job, context));
    return size_in(pipeline::run_estimate(job, *reader_, context));
  }

 private:
  static int64_t size_in(const Json& estimate) { return estimate.at("plan").get_int("output_bytes", 0); }
  std::optional<checkpoint::Reader> reader_;
};

}  // namespace

Json scheme_sizes(const std::string& model, const HubSettings& hub, const Context& context) {
  return api::guard(context, [&] {
    const data::ModelHeaders headers = headers_of(model, hub, context);
    OpenModel opened;
    Json out = Json::object();
    const Json known = schemes();
    for (const Json& preset : known.at("presets").as_array()) {
      const std::string name = preset.get_string("scheme", "");
      for (const int64_t group : {0, 64, 32}) {
        Json size = Json::object();
        try {
          const recipe::Recipe recipe = recipe_of_preset(name, group);
          size.set("output_bytes", opened.bytes_in(size_job(headers.folder, recipe), context));
        } catch (const Error& e) {
          if (e.kind() != ErrorKind::InvalidArgument) throw;
          continue;  // its groups do not divide the columns
        }
        if (group > 0) size.set("output_group_size", group);
        out.set(name, std::move(size));
        break;
      }
    }
    return out;
  });
}

Json estimate(const EstimateOptions& options, const Context& context) {
  return api::guard(context, [&] {
    const recipe::Recipe recipe = api::recipe_of(options);
    pipeline::EstimateJob job;
    const data::ModelHeaders headers = headers_of(options.model, options.hub, context);
    job.source = headers.folder;
    job.chain = modifiers::make_chain(recipe.modifiers);
    job.recipe_file = options.recipe_file;
    static_cast<PlanOptions&>(job) = options;
    if (job.chain.calibrating() != nullptr)
      job.max_seq_length = pipeline::fitting_row(job.source, job.max_seq_length, context);
    if (!options.rates.empty()) job.given = pipeline::parse_rates(options.rates);
    Context placed = context;
    placed.device = device_of(job.device_map, context.device);
    return pipeline::run_estimate(job, placed);
  });
}

}  // namespace swage
