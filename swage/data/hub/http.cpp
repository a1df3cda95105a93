#include "swage/data/hub/http.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <thread>

#include "swage/base/error.h"
#include "swage/base/utf8.h"
#include "swage/base/version.h"
#include "swage/data/bridge.h"

namespace swage::data {

using Clock = std::chrono::steady_clock;

struct HttpReply::State {
  rust::Box<bridge::HttpReply> reply;
};

HttpReply::HttpReply(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpReply::~HttpReply() = default;
HttpReply::HttpReply(HttpReply&&) noexcept = default;
HttpReply& HttpReply::operator=(HttpReply&&) noexcept = default;

int HttpReply::status() const { return state_->reply->status(); }
std::string HttpReply::failure() const { return std::string(state_->reply->failure()); }
bool HttpReply::unreachable() const { return state_->reply->unreachable(); }
std::string HttpReply::header(const char* name) const { return std::string(state_->reply->header(name)); }

size_t HttpReply::read(char* to, size_t count) {
  return call_bridge(ErrorKind::Io, "the connection broke off",
                     [&] { return state_->reply->read({reinterpret_cast<uint8_t*>(to), count}); });
}

std::string HttpReply::text(uint64_t most) {
  std::string out;
  char piece[16384];
  for (size_t count; (count = read(piece, sizeof piece)) > 0;) {
    out.append(piece, count);
    SWAGE_CHECK(out.size() <= most, Io, "an answer of more than ", most, " bytes");
  }
  return out;
}

namespace {

constexpr int kMostTries = 5, kMostRedirects = 10;
constexpr double kFirstPause = 0.5, kLongestPause = 300;

bool worth_another_try(int status) {
  return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string origin_of(const std::string& url, std::string_view what) {
  return std::string(call_bridge(ErrorKind::InvalidArgument, what, [&] { return bridge::url_origin(as_str(url)); }));
}

// The leading number of a text, -1 if there is none.
double leading_number(std::string_view text) {
  double value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && value >= 0 ? value : -1;
}

void sleep_for(double seconds, const Context& context) {
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  while (Clock::now() < end) {
    context.check_cancelled();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

double seconds_to_wait(const HttpReply& reply) {
  if (const double seconds = leading_number(reply.header("retry-after")); seconds >= 0) return seconds;
  // RateLimit: "api";r=0;t=55
  const std::string limit = reply.header("ratelimit");
  const size_t at = limit.find(";t=");
  return reply.status() != 429 || at == std::string::npos ? -1 : leading_number(std::string_view(limit).substr(at + 3));
}

bool Patience::another(const std::string& why, double asked_seconds) {
  if (++failures_ >= kMostTries || asked_seconds > kLongestPause) return false;
  const double pause = asked_seconds >= 0 ? asked_seconds : kFirstPause * double(1 << (failures_ - 1));
  context_.log(Severity::Info, cat(why, "; trying again", pause >= 1 ? cat(" in ", std::lround(pause), " s") : ""));
  sleep_for(pause, context_);
  return true;
}

std::string url_quoted(const std::string& path, bool whole) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const unsigned char c : path) {
    if (std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~' || (c == '/' && !whole)) {
      out += char(c);
    } else {
      out += {'%', kDigits[c >> 4], kDigits[c & 15]};
    }
  }
  return out;
}

std::string printable(const std::string& text, size_t most) {
  std::string out = text.substr(0, most);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126) c = ' ';
  }
  return text.size() > most ? out + "..." : out;
}

struct HubHttp::State {
  rust::Box<bridge::HttpClient> client;
};

HubHttp::HubHttp(const HubOptions& options, const Context& context)
    : endpoint_(options.endpoint),
      token_(options.token),
      context_(context) {
  SWAGE_CHECK(printable(endpoint_) == endpoint_, InvalidArgument, "HF_ENDPOINT \"", printable(endpoint_),
              "\" is no URL");
  origin_ = origin_of(endpoint_, cat("HF_ENDPOINT \"", endpoint_, "\""));
  const auto fit = [](unsigned char c) { return c > 32 && c < 127; };
  SWAGE_CHECK(std::all_of(token_.begin(), token_.end(), fit), InvalidArgument,
              "the hub's token holds spaces or other characters that no token has");
  const std::string agent = cat("swage/", kVersion);
  state_ = std::make_unique<State>(State{call_bridge(
      ErrorKind::Io, "HTTP", [&] { return bridge::http_client(agent, uint64_t(options.timeout_seconds)); })});
}

HubHttp::~HubHttp() = default;

HttpReply HubHttp::send_once(const HttpRequest& request) {
  context_.check_cancelled();
  bridge::HttpCall call;
  call.method = request.method;
  call.url = request.url;
  for (const auto& [name, value] : request.headers) call.headers.push_back({name, value});
  if (!token_.empty() && origin_of(request.url, "the hub's answer") == origin_)
    call.headers.push_back({"Authorization", "Bearer " + token_});
  call.body.reserve(request.body.size());
  for (const char c : request.body) call.body.push_back(uint8_t(c));
  const std::string path = request.file.string();
  SWAGE_CHECK(valid_utf8_prefix(path) == path.size(), InvalidArgument, path, ": the name is not UTF-8");
  call.path = path;
  call.offset = request.offset;
  call.length = request.length;
  auto pending = call_bridge(ErrorKind::Io, "HTTP", [&] { return state_->client->start(std::move(call)); });
  while (!pending->wait(50)) {
    if (context_.cancel != nullptr && *context_.cancel) state_->client->stop();
    context_.check_cancelled();
    if (!path.empty()) on_sent(state_->client->sent());
  }
  auto reply = call_bridge(ErrorKind::Io, "HTTP", [&] { return pending->take(); });
  return HttpReply(std::make_unique<HttpReply::State>(HttpReply::State{std::move(reply)}));
}

HttpReply HubHttp::follow(HttpRequest request, Redirects redirects) {
  for (int hop = 0; hop <= kMostRedirects; ++hop) {
    HttpReply reply = send_once(request);
    reply.url_ = request.url;
    const std::string location = reply.header("location");
    if (!is_redirect(reply.status()) || location.empty()) return reply;
    const std::string here = origin_of(request.url, "the hub's answer");
    const std::string next = std::string(call_bridge(
        ErrorKind::Io, "a redirect", [&] { return bridge::join_url(as_str(request.url), as_str(location)); }));
    const std::string there = origin_of(next, "a redirect");
    SWAGE_CHECK(!here.starts_with("https:") || there.starts_with("https:"), Io, "a redirect from ", here, " to ", there,
                " leaves encryption");
    if (redirects == Redirects::SameHost && here != there) return reply;
    request.url = next;
  }
  throw Error(ErrorKind::Io, cat("more than ", kMostRedirects, " redirects"));
}

HttpReply HubHttp::send(const HttpRequest& request, const std::string& what, Redirects redirects) {
  Patience patience(context_);
  while (true) {
    try {
      HttpReply reply = follow(request, redirects);
      context_.check_cancelled();
      const bool no_network = reply.unreachable() && !answered_;
      if (reply.status() > 0) answered_ = true;
      if (reply.status() > 0 && !worth_another_try(reply.status())) return reply;
      const std::string why = reply.status() > 0 ? cat("answered ", reply.status()) : reply.failure();
      if (!no_network && patience.another(cat(what, ": ", why), seconds_to_wait(reply))) continue;
      if (reply.status() > 0) return reply;
      throw Error(ErrorKind::Io, cat(origin_of(request.url, "the request"), ": ", reply.failure()));
    } catch (Error& error) {
      if (error.kind() != ErrorKind::Cancelled) error.add_context(what);
      throw;
    }
  }
}

}  // namespace swage::data
