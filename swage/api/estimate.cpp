#include <filesystem>

#include "swage/api/guard.h"
#include "swage/api/recipe_of.h"
#include "swage/data/hub.h"
#include "swage/pipeline/compress_checks.h"
#include "swage/pipeline/estimate.h"
#include "swage/swage.h"

namespace swage {

Json estimate(const EstimateOptions& options, const Context& context) {
  return api::guard(context, [&] {
    const recipe::Recipe recipe = api::recipe_of(options);
    pipeline::EstimateJob job;
    const bool is_file = std::filesystem::is_regular_file(options.model);
    const data::ModelHeaders headers =
        is_file ? data::ModelHeaders{options.model, nullptr}
                : data::resolve_headers(options.model, api::hub_options(options.hub), context);
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
