// What a request is refused with, as the clients of each interface read it.
#pragma once
#include <stdexcept>
#include <string>

#include "swage/swage.h"

namespace swage::server {

enum class Dialect { OpenAi, Tgi };

struct ApiError : std::runtime_error {
  ApiError(int status, std::string type, const std::string& message, std::string param = {}, std::string code = {});

  int status;
  std::string type;   // "invalid_request_error", ...
  std::string param;  // the field at fault; empty: none
  std::string code;
  int64_t retry_after = 0;  // seconds; 0: not said
};

// A field that cannot be taken: 400, of TGI 422.
ApiError bad_field(const std::string& param, const std::string& message);
ApiError not_found(const std::string& message, const std::string& code);
ApiError overloaded(int64_t retry_after);
// What an exception comes to: the request's fault, or ours.
ApiError as_api_error(const std::exception& e);

int status_of(const ApiError& error, Dialect dialect);
// {"error": {"message", "type", "param", "code"}}, or TGI's {"error", "error_type"}.
Json body_of(const ApiError& error, Dialect dialect);

}  // namespace swage::server
