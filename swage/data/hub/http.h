// HTTP to the hub: redirects, the token for the hub's own host only, another try where one helps.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "swage/base/context.h"
#include "swage/data/hub.h"

namespace swage::data {

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
  // Instead of `body`: bytes of a file.
  std::filesystem::path file = {};
  uint64_t offset = 0, length = 0;
};

// An answer with its body still to be read. Movable; for one thread.
class HttpReply {
 public:
  struct State;
  explicit HttpReply(std::unique_ptr<State> state);
  ~HttpReply();
  HttpReply(HttpReply&&) noexcept;
  HttpReply& operator=(HttpReply&&) noexcept;

  int status() const;  // 0: no answer came, failure() says why
  bool ok() const { return status() >= 200 && status() < 300; }
  std::string failure() const;
  bool unreachable() const;                        // no connection was made
  std::string header(const char* name) const;      // name in lower case; empty if absent
  const std::string& url() const { return url_; }  // after redirects
  // Some bytes of the body, 0 at its end. Error(Io) if it breaks off.
  size_t read(char* to, size_t count);
  // The whole body; Error(Io) beyond `most` bytes.
  std::string text(uint64_t most = uint64_t{64} << 20);

 private:
  friend class HubHttp;
  std::unique_ptr<State> state_;
  std::string url_;
};

// When to try again: at most 5 tries in a row that bring nothing, with 0.5, 1, 2 and 4 seconds between them, or as many
// as the server asks for, up to 5 minutes.
class Patience {
 public:
  explicit Patience(const Context& context) : context_(context) {}
  // Waits; false: that was the last try. `asked_seconds` < 0: the server said nothing. `why` goes to the log.
  bool another(const std::string& why, double asked_seconds = -1);
  void progressed() { failures_ = 0; }

 private:
  const Context& context_;
  int failures_ = 0;
};

class HubHttp {
 public:
  // Error(InvalidArgument) for an endpoint that is no URL, and for a token that cannot be one; neither message holds
  // the token.
  HubHttp(const HubOptions& options, const Context& context);
  ~HubHttp();
  HubHttp(const HubHttp&) = delete;

  const std::string& endpoint() const { return endpoint_; }
  bool has_token() const { return !token_.empty(); }

  enum class Redirects { Follow, SameHost };  // SameHost: a redirect to another host is the answer itself
  // The answer, once there is one that another try would not better: no server error (5xx), no 408 or 429. `what` names
  // the request in errors: Error(Io) if no answer comes.
  HttpReply send(const HttpRequest& request, const std::string& what, Redirects redirects = Redirects::Follow);
  // Is told, while a file goes out, how many bytes of files went out so far.
  std::function<void(uint64_t)> on_sent = [](uint64_t) {};

 private:
  HttpReply send_once(const HttpRequest& request);
  HttpReply follow(HttpRequest request, Redirects redirects);

  struct State;
  std::unique_ptr<State> state_;
  std::string endpoint_, origin_, token_;
  const Context& context_;
  bool answered_ = false;  // by anyone: the network is there
};

// Seconds that an answer asks to wait (Retry-After, RateLimit), -1 if it does not.
double seconds_to_wait(const HttpReply& reply);
// A path's parts as a URL has them; slashes stay unless `whole`.
std::string url_quoted(const std::string& path, bool whole = false);
// What came, shortened and printable.
std::string printable(const std::string& text, size_t most = 200);

}  // namespace swage::data
