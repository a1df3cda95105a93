#include "swage/convert/convert.h"
#include "swage/api/guard.h"
#include "swage/data/hub.h"
#include "swage/swage.h"

namespace swage {

Json convert(const ConvertOptions& options, const Context& context) {
  return api::guard(context, [&] {
    pipeline::ConvertJob job;
    job.source = data::resolve_model(options.model, api::hub_options(options.hub), context);
    job.target = options.output;
    static_cast<ConvertChoice&>(job) = options;
    return pipeline::run_convert(job, context);
  });
}

}  // namespace swage
