#include "apps/server/routes.h"

#include <array>
#include <cctype>

namespace swage::server {
namespace {

struct Route {
  const char* method;
  const char* path;  // with a '*' at the end: everything that begins so
  Handler handler;
  Dialect dialect = Dialect::OpenAi;
  bool is_open = false;  // without a key
};

constexpr auto kRoutes = std::to_array<Route>({
    {"GET", "/v1/models", list_models},
    {"GET", "/v1/models/*", get_model},
    {"POST", "/v1/completions", complete},
    {"POST", "/v1/chat/completions", chat},
    {"POST", "/v1/responses", respond},
    {"POST", "/v1/embeddings", embed},
    {"POST", "/generate", tgi_generate, Dialect::Tgi},
    {"POST", "/generate_stream", tgi_generate_stream, Dialect::Tgi},
    {"POST", "/", tgi_compatible, Dialect::Tgi},
    {"GET", "/info", tgi_info, Dialect::Tgi},
    {"POST", "/chat_tokenize", tgi_chat_tokenize, Dialect::Tgi},
    {"POST", "/tokenize", tokenize},
    {"POST", "/detokenize", detokenize},
    {"POST", "/completion", llama_complete},
    {"GET", "/props", props},
    {"GET", "/health", health, Dialect::Tgi, true},
    {"GET", "/v1/health", health, Dialect::OpenAi, true},
    {"GET", "/ping", health, Dialect::OpenAi, true},
    {"GET", "/ready", ready, Dialect::OpenAi, true},
    {"GET", "/metrics", metrics},
    {"GET", "/version", version},
    {"POST", "/v1/compressions", create_job},
    {"GET", "/v1/compressions", list_jobs},
    {"GET", "/v1/compressions/*", get_job},
    {"POST", "/v1/compressions/*", cancel_job},
    {"DELETE", "/v1/compressions/*", cancel_job},
    {"POST", "/v1/uploads", upload},
    {"GET", "/", page, Dialect::OpenAi, true},
});

bool matches(const Route& route, const std::string& path) {
  const std::string_view pattern = route.path;
  if (pattern.back() == '*')
    return path.size() >= pattern.size() && path.starts_with(pattern.substr(0, pattern.size() - 1));
  return path == pattern;
}

int digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) ? c - '0' : std::tolower(c) - 'a' + 10; }

// "%2F" as the character that it stands for.
std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_escape = text[i] == '%' && i + 2 < text.size() &&
                           std::isxdigit(static_cast<unsigned char>(text[i + 1])) &&
                           std::isxdigit(static_cast<unsigned char>(text[i + 2]));
    if (is_escape) {
      out += char(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

void refuse(Service& service, const Call& call, const std::string& allowed) {
  if (allowed.empty())
    return reply_error(service, call, not_found(cat("there is no ", call.request.path.substr(0, 200)), "not_found"));
  const ApiError error(405, "invalid_request_error", cat(call.request.method, " is not allowed here: ", allowed), {},
                       "method_not_allowed");
  reply_json(service, call, 405, body_of(error, call.dialect), {{"allow", allowed}});
}

}  // namespace

void route(Service& service, Call call) {
  const std::string& path = call.request.path;
  const std::string method = call.request.method == "HEAD" ? "GET" : call.request.method;
  std::string allowed;
  for (const Route& one : kRoutes) {
    if (!matches(one, path)) continue;
    call.dialect = one.dialect;
    if (method != one.method) {
      allowed += (allowed.empty() ? "" : ", ") + std::string(one.method);
      continue;
    }
    const std::string_view pattern = one.path;
    if (pattern.back() == '*') call.rest = unescaped(std::string_view(path).substr(pattern.size() - 1));
    try {
      one.handler(service, call);
    } catch (const std::exception& e) {
      reply_error(service, call, as_api_error(e));
    }
    return;
  }
  refuse(service, call, allowed);
}

std::vector<std::string> tgi_paths() {
  std::vector<std::string> out;
  for (const Route& one : kRoutes) {
    if (one.dialect == Dialect::Tgi) out.emplace_back(one.path);
  }
  return out;
}

std::vector<std::string> open_paths() {
  std::vector<std::string> out;
  for (const Route& one : kRoutes) {
    if (one.is_open) out.push_back(cat(one.method, " ", one.path));
  }
  return out;
}

}  // namespace swage::server
