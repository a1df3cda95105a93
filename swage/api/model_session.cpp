#include "swage/api/model_session.h"

#include "swage/api/guard.h"
#include "swage/model/unread_tensors.h"
#include "swage/ops/device.h"
#include "swage/pipeline/compress_checks.h"

namespace swage::api {

data::HubOptions hub_options(const HubSettings& settings) { return data::hub_options(settings.variable); }

ModelSession::ModelSession(const std::string& folder_or_id, const HubSettings& hub, const Context& context,
                           format::KeptForm kept)
    : folder(data::resolve_model(folder_or_id, hub_options(hub), context)),
      reader(folder),
      weights(reader, ops::to_torch(context.device), {.kept = kept}),
      model(model::make_model(reader.config(), weights, ops::to_torch(context.device), context.architecture)),
      tokenizer(folder) {
  if (!context.architecture.empty()) pipeline::check_shapes(reader, weights, *model);
  for (const std::string& warning : reader.warnings()) context.log(Severity::Warning, warning);
  const auto is_known = [this](const std::string& name) { return weights.describes_quantization(name); };
  const std::string unread = model::unread_warning(model::unread_tensors(*model, reader.tensors(), is_known));
  if (!unread.empty()) context.log(Severity::Warning, unread);
}

}  // namespace swage::api

namespace swage {

std::string resolve_model(const std::string& folder_or_id, const HubSettings& hub, const Context& context) {
  return api::guard(context,
                    [&] { return data::resolve_model(folder_or_id, api::hub_options(hub), context).string(); });
}

ModelHeaders model_headers(const std::string& folder_or_id, const HubSettings& hub, const Context& context) {
  return api::guard(context, [&] {
    data::ModelHeaders headers = data::resolve_headers(folder_or_id, api::hub_options(hub), context);
    return ModelHeaders{headers.folder.string(), std::move(headers.lifetime)};
  });
}

}  // namespace swage
