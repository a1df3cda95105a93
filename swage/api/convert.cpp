#include "swage/convert/convert.h"
#include "swage/api/guard.h"
#include "swage/convert/gguf_import.h"
#include "swage/data/hub.h"
#include "swage/swage.h"

namespace swage {

Json convert(const ConvertOptions& options, const Context& context) {
  return api::guard(context, [&] {
    pipeline::ConvertJob job;
    job.target = options.output;
    static_cast<ConvertChoice&>(job) = options;
    if (pipeline::is_gguf(options.model)) {
      job.source = options.model;
      return pipeline::import_gguf(job, context);
    }
    job.source = data::resolve_model(options.model, api::hub_options(options.hub), context);
    return pipeline::run_convert(job, context);
  });
}

}  // namespace swage
