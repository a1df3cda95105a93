#include "apps/server/api_error.h"

namespace swage::server {
namespace {

constexpr const char* kInvalid = "invalid_request_error";

const char* tgi_type(int status) {
  switch (status) {
    case 429:
      return "overloaded";
    case 500:
    case 504:
      return "incomplete_generation";
    case 503:
      return "healthcheck";
    default:
      return status == 424 ? "generation" : "validation";
  }
}

}  // namespace

ApiError::ApiError(int status, std::string type, const std::string& message, std::string param, std::string code)
    : std::runtime_error(message),
      status(status),
      type(std::move(type)),
      param(std::move(param)),
      code(std::move(code)) {}

ApiError bad_field(const std::string& param, const std::string& message) {
  return {400, kInvalid, param.empty() ? message : cat(param, ": ", message), param, "invalid_value"};
}

ApiError not_found(const std::string& message, const std::string& code) { return {404, kInvalid, message, {}, code}; }

ApiError overloaded(int64_t retry_after) {
  ApiError error(429, "overloaded_error", "too many requests are waiting", {}, "overloaded");
  error.retry_after = retry_after;
  return error;
}

ApiError as_api_error(const std::exception& e) {
  if (const auto* known = dynamic_cast<const ApiError*>(&e)) return *known;
  if (const auto* error = dynamic_cast<const Error*>(&e)) {
    switch (error->kind()) {
      case ErrorKind::InvalidArgument:
      case ErrorKind::CorruptData:
        return {400, kInvalid, error->what(), {}, "invalid_value"};
      case ErrorKind::Unsupported:
        return {400, kInvalid, error->what(), {}, "unsupported"};
      default:
        break;
    }
  }
  return {500, "server_error", e.what(), {}, "internal"};
}

int status_of(const ApiError& error, Dialect dialect) {
  return dialect == Dialect::Tgi && error.status == 400 ? 422 : error.status;
}

Json body_of(const ApiError& error, Dialect dialect) {
  Json out = Json::object();
  if (dialect == Dialect::Tgi) {
    out.set("error", error.what());
    out.set("error_type", tgi_type(status_of(error, dialect)));
    return out;
  }
  Json inner = Json::object();
  inner.set("message", error.what());
  inner.set("type", error.type);
  inner.set("param", error.param.empty() ? Json() : Json(error.param));
  inner.set("code", error.code.empty() ? Json() : Json(error.code));
  out.set("error", std::move(inner));
  return out;
}

}  // namespace swage::server
