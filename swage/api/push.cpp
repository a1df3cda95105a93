#include "swage/data/hub/push.h"

#include "swage/api/guard.h"
#include "swage/swage.h"

namespace swage {

Json push(const PushOptions& options, const Context& context) {
  return api::guard(context, [&] {
    data::PushRequest request;
    request.folder = options.folder;
    request.repo = options.repo;
    request.revision = options.revision;
    request.message = options.message;
    request.is_private = options.is_private;
    return data::push_folder(request, api::hub_options(options.hub), context);
  });
}

}  // namespace swage
