// Which handler a request goes to.
#pragma once
#include "apps/server/handlers.h"

namespace swage::server {

// Answers the call: what its handler throws becomes the answer, of an unknown path 404, of another method 405.
void route(Service& service, Call call);

// Paths whose refusals look as TGI's; those that need no key.
std::vector<std::string> tgi_paths();
std::vector<std::string> open_paths();

}  // namespace swage::server
