// A server's end of HTTP/1.1: sockets, TLS, limits, keys, CORS, streams and an access log (rust/src/server). What
// requests mean is for whoever takes them from here.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/base/json.h"

namespace swage::net {

// A path pattern is a path, or its beginning with a '*' behind. "GET " may stand before it.
struct HttpServerOptions {
  std::string address = "127.0.0.1:8000";    // port 0: one that is free
  std::string unix_socket;                   // a path; not empty: listened at in place of the address
  std::string tls_certificate, tls_key;      // PEM files; empty: no TLS
  std::vector<std::string> keys;             // that may ask; none: everybody may
  std::vector<std::string> admin_keys;       // that may ask for admin_paths too; none: nobody may
  std::vector<std::string> open_paths;       // without a key, and while the server is drained
  std::vector<std::string> admin_paths;      // with an administrator's key only
  std::vector<std::string> tgi_error_paths;  // where refusals look as TGI's clients expect them
  std::vector<std::string> upload_paths;     // where bodies may have max_upload bytes
  std::vector<std::string> cors_origins;     // pages that may read answers; "*": all
  std::string access_log;                    // a file for a line of JSON a request; "-": stderr; empty: none
  uint64_t max_body = 8 << 20, max_upload = 1 << 30;
  uint64_t max_connections = 4096;
  std::chrono::seconds header_time{60}, body_time{60};  // for a request's head (so long an idle connection lives), body
  std::chrono::seconds comment_after{15};               // of silence a stream says that it is still there
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method, path, query;
  HttpHeaders headers;  // names in small letters; without the key
  std::string body;
  std::string client;  // the same for all requests with one key, or without a key from one address
};

// Thread-safe. Requests have numbers; each is answered once: by reply(), or by begin_stream(), send() and end().
class HttpServer {
 public:
  enum class Event { None, Request, Gone };  // Gone: nobody waits for the answer any more

  virtual ~HttpServer() = default;
  virtual std::string address() const = 0;  // "127.0.0.1:8000", or the socket's path
  // What happened next, waited for so long.
  virtual std::pair<Event, uint64_t> next(std::chrono::milliseconds most) = 0;
  // Of an event, once. Error(Cancelled) if its client is gone by now.
  virtual HttpRequest request(uint64_t id) = 0;

  // False if the client is gone; for send() also if it is too far behind.
  virtual bool reply(uint64_t id, int status, const HttpHeaders& headers, std::string_view body) = 0;
  virtual bool begin_stream(uint64_t id, int status, const HttpHeaders& headers) = 0;
  virtual bool send(uint64_t id, std::string_view bytes) = 0;
  virtual void end(uint64_t id) = 0;

  // A member of the request's line in the access log.
  virtual void note(uint64_t id, const std::string& name, const Json& value) = 0;
  virtual void set_keys(const std::vector<std::string>& keys, const std::vector<std::string>& admin_keys) = 0;
  // No new connections; new requests on those that are open are refused with 503.
  virtual void drain() = 0;
  virtual uint64_t active() const = 0;  // requests whose answers have not left yet
  virtual uint64_t connections() const = 0;
};

// Error(InvalidArgument) naming what cannot be listened at or read.
std::unique_ptr<HttpServer> open_http_server(const HttpServerOptions& options);

}  // namespace swage::net
