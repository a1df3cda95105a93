// What the modules of a checkpoint come to, taken together.
#pragma once
#include "swage/base/json.h"

namespace swage::api {

// {"schemes", "kinds", "layers", "embedding_share"}: modules as inspect() lists them, by scheme, by what they are in
// their layer, and by layer; shares are of all bytes. Kinds and schemes are in the order in which they first run.
Json summary_of(const Json::Array& modules);

}  // namespace swage::api
