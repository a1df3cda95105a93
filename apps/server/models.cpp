// GET /v1/models and what a server says of itself.
#include "apps/server/handlers.h"
#include "swage/base/version.h"

namespace swage::server {
namespace {

Json card(const Service& service) {
  Json out = Json::object();
  out.set("id", service.model.id);
  out.set("object", "model");
  out.set("created", service.model.created);
  out.set("owned_by", "swage");
  out.set("root", service.model.id);
  out.set("parent", nullptr);
  out.set("max_model_len", service.model.context);
  return out;
}

}  // namespace

void list_models(Service& service, const Call& call) {
  Json list = Json::array();
  list.push_back(card(service));
  Json out = Json::object();
  out.set("object", "list");
  out.set("data", std::move(list));
  reply_json(service, call, 200, out);
}

void get_model(Service& service, const Call& call) {
  if (call.rest != service.model.id)
    throw not_found(cat("the model \"", call.rest.substr(0, 100), "\" is not served here"), "model_not_found");
  reply_json(service, call, 200, card(service));
}

void health(Service& service, const Call& call) {
  if (service.engine_failed) throw ApiError(503, "unavailable_error", "the engine has ended", {}, "unhealthy");
  reply_text(service, call, 200, "text/plain", "");
}

void ready(Service& service, const Call& call) {
  if (service.is_draining) throw ApiError(503, "unavailable_error", "the server is shutting down", {}, "shutting_down");
  health(service, call);
}

void metrics(Service& service, const Call& call) {
  reply_text(service, call, 200, "text/plain; version=0.0.4; charset=utf-8",
             service.metrics.text(service.engine.stats(), service.http.connections()));
}

void version(Service& service, const Call& call) {
  Json out = Json::object();
  out.set("version", kVersion);
  reply_json(service, call, 200, out);
}

}  // namespace swage::server
