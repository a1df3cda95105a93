#include "apps/server/service.h"

namespace swage::server {

TokenTexts::TokenTexts(const Engine& engine) : engine_(engine) {
  const std::vector<int64_t> ids = engine.encode("a", false);
  if (!ids.empty()) before_ = ids.back();
}

const TokenTexts::Known& TokenTexts::known(int64_t id) {
  const std::lock_guard lock(mutex_);
  auto found = known_.find(id);
  if (found == known_.end()) {
    std::string text = before_ < 0 ? engine_.decode({id}, false) : engine_.pieces({before_, id}).back();
    const bool special = !text.empty() && engine_.decode({id}, true).empty();
    found = known_.emplace(id, Known{std::move(text), special}).first;
  }
  return found->second;  // entries of a map stay where they are
}

std::string TokenTexts::of(int64_t id) { return known(id).text; }

bool TokenTexts::is_special(int64_t id) { return known(id).special; }

void reply_json(Service& service, const Call& call, int status, const Json& body, net::HttpHeaders more) {
  more.emplace_back("content-type", "application/json");
  service.metrics.answered(status);
  service.http.reply(call.id, status, more, body.dump());
  service.live.finish(call.id);
}

void reply_text(Service& service, const Call& call, int status, const std::string& type, std::string_view body) {
  service.metrics.answered(status);
  service.http.reply(call.id, status, {{"content-type", type}}, body);
  service.live.finish(call.id);
}

void reply_error(Service& service, const Call& call, const ApiError& error) {
  net::HttpHeaders more;
  if (error.retry_after > 0) more.emplace_back("retry-after", cat(error.retry_after));
  reply_json(service, call, status_of(error, call.dialect), body_of(error, call.dialect), std::move(more));
}

}  // namespace swage::server
