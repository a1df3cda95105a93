// GET /: the page to talk with the model (page.html, which is a part of the program).
#include <string_view>

#include "apps/server/handlers.h"

namespace swage::server {

extern const std::string_view kPage;

void page(Service& service, const Call& call) {
  service.metrics.answered(200);
  service.http.reply(call.id, 200,
                     {{"content-type", "text/html; charset=utf-8"},
                      {"cache-control", "no-cache"},
                      {"x-content-type-options", "nosniff"},
                      {"content-security-policy",
                       "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
                       "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"}},
                     kPage);
  service.live.finish(call.id);
}

}  // namespace swage::server
