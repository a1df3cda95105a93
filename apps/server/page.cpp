// GET /: the page to talk with the model (page.html, which is a part of the program).
#include <string_view>

#include "apps/server/handlers.h"

namespace swage::server {

extern const std::string_view kPage;

void page(Service& service, const Call& call) { reply_text(service, call, 200, "text/html; charset=utf-8", kPage); }

}  // namespace swage::server
