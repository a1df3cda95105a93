#include "swage/net/http_server.h"

#include "rust/cxx.h"
#include "swage-rust/src/server/bridge.rs.h"
#include "swage/base/error.h"

namespace swage::net {
namespace {

rust::Vec<rust::String> strings(const std::vector<std::string>& values) {
  rust::Vec<rust::String> out;
  for (const std::string& value : values) out.push_back(rust::String::lossy(value));
  return out;
}

rust::Vec<bridge::Field> fields(const HttpHeaders& headers) {
  rust::Vec<bridge::Field> out;
  for (const auto& [name, value] : headers)
    out.push_back({.name = rust::String::lossy(name), .value = rust::String::lossy(value)});
  return out;
}

rust::Slice<const uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

bridge::ServerOptions bridged(const HttpServerOptions& options) {
  return {.address = options.address,
          .unix_socket = options.unix_socket,
          .tls_certificate = options.tls_certificate,
          .tls_key = options.tls_key,
          .keys = strings(options.keys),
          .admin_keys = strings(options.admin_keys),
          .open_paths = strings(options.open_paths),
          .admin_paths = strings(options.admin_paths),
          .plain_error_paths = strings(options.tgi_error_paths),
          .upload_paths = strings(options.upload_paths),
          .cors_origins = strings(options.cors_origins),
          .access_log = options.access_log,
          .max_body = options.max_body,
          .max_upload = options.max_upload,
          .max_connections = options.max_connections,
          .header_seconds = uint64_t(options.header_time.count()),
          .body_seconds = uint64_t(options.body_time.count()),
          .comment_seconds = uint64_t(options.comment_after.count())};
}

class BridgedServer : public HttpServer {
 public:
  explicit BridgedServer(rust::Box<bridge::HttpServer> inner) : inner_(std::move(inner)) {}

  std::string address() const override { return std::string(inner_->address()); }
  std::pair<Event, uint64_t> next(std::chrono::milliseconds most) override {
    const bridge::ServerEvent event = inner_->next(uint64_t(most.count()));
    return {event.kind == 1 ? Event::Request : event.kind == 2 ? Event::Gone : Event::None, event.id};
  }
  HttpRequest request(uint64_t id) override {
    try {
      const bridge::ServerRequest asked = inner_->request(id);
      HttpRequest out{std::string(asked.method),
                      std::string(asked.path),
                      std::string(asked.query),
                      {},
                      std::string(asked.body.begin(), asked.body.end()),
                      std::string(asked.client)};
      for (const bridge::Field& header : asked.headers)
        out.headers.emplace_back(std::string(header.name), std::string(header.value));
      return out;
    } catch (const rust::Error& e) {
      throw Error(ErrorKind::Cancelled, e.what());
    }
  }
  bool reply(uint64_t id, int status, const HttpHeaders& headers, std::string_view body) override {
    return inner_->reply(id, uint16_t(status), fields(headers), bytes(body));
  }
  bool begin_stream(uint64_t id, int status, const HttpHeaders& headers) override {
    return inner_->begin_stream(id, uint16_t(status), fields(headers));
  }
  bool send(uint64_t id, std::string_view text) override { return inner_->send(id, bytes(text)); }
  void end(uint64_t id) override { inner_->end(id); }
  void note(uint64_t id, const std::string& name, const Json& value) override {
    inner_->note(id, rust::String::lossy(name), rust::String::lossy(value.dump()));
  }
  void set_keys(const std::vector<std::string>& keys, const std::vector<std::string>& admin_keys) override {
    inner_->set_keys(strings(keys), strings(admin_keys));
  }
  void drain() override { inner_->drain(); }
  uint64_t active() const override { return inner_->active(); }
  uint64_t connections() const override { return inner_->connections(); }

 private:
  rust::Box<bridge::HttpServer> inner_;
};

}  // namespace

std::unique_ptr<HttpServer> open_http_server(const HttpServerOptions& options) {
  try {
    return std::make_unique<BridgedServer>(bridge::http_server(bridged(options)));
  } catch (const rust::Error& e) {
    throw Error(ErrorKind::InvalidArgument, cat("the server does not listen: ", e.what()));
  }
}

}  // namespace swage::net
