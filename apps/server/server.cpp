#include "apps/server/server.h"

#include <algorithm>
#include <filesystem>
#include <future>
#include <tuple>

#include "apps/server/routes.h"
#include "apps/server/sampling.h"
#include "apps/server/signals.h"
#include "apps/server/threads.h"
#include "swage/base/file.h"

namespace swage::server {
namespace {

using net::HttpServer;
constexpr std::chrono::milliseconds kTick{50};
constexpr size_t kWorkers = 3;

// Keys of a file, a line each; lines that begin with '#' are none.
void add_keys_of(const std::string& file, std::vector<std::string>& keys) {
  if (file.empty()) return;
  const size_t before = keys.size();
  const std::string text = read_regular_file(file, kMaxConfigBytes);
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    const size_t last = line.find_last_not_of(" \t\r");
    line.resize(last == std::string::npos ? 0 : last + 1);
    if (!line.empty() && line[0] != '#') keys.push_back(line);
    at = end + 1;
  }
  SWAGE_CHECK(keys.size() > before, InvalidArgument, file, ": holds no key");
}

std::pair<std::vector<std::string>, std::vector<std::string>> all_keys(const ServeOptions& options) {
  std::vector<std::string> keys = options.keys, admin = options.admin_keys;
  add_keys_of(options.keys_file, keys);
  add_keys_of(options.admin_keys_file, admin);
  return {std::move(keys), std::move(admin)};
}

std::unique_ptr<HttpServer> listen(const ServeOptions& options, const Doors& doors) {
  net::HttpServerOptions http = options.http;
  std::tie(http.keys, http.admin_keys) = all_keys(options);
  http.open_paths = open_paths();
  http.tgi_error_paths = tgi_paths();
  http.admin_paths = {"/v1/compressions", "/v1/compressions/*", "/v1/uploads"};
  http.upload_paths = {"/v1/uploads"};
  return doors.open_http_server(http);
}

ModelCard card_of(const ServeOptions& options, const Engine& engine) {
  const Json description = engine.describe();
  ModelCard out;
  std::string name = options.model_name;
  if (name.empty()) {
    const std::filesystem::path path = options.engine.model;
    const bool is_folder = std::filesystem::is_directory(path);
    name = is_folder ? std::filesystem::absolute(path).lexically_normal().filename().string() : options.engine.model;
    if (name.empty()) name = "model";
  }
  out.id = name;
  out.created = now_seconds();
  out.context = description.at("plan").get_int("context", 0);
  out.vocabulary = description.get_int("vocabulary", 0);
  out.hidden = description.get_int("hidden_size", 0);
  return out;
}

// As --pooling says, or as a model of sentence-transformers does beside its config.json; the last token otherwise.
Limits limits_of(const ServeOptions& options) {
  Limits out = options.limits;
  const std::filesystem::path file = std::filesystem::path(options.engine.model) / "1_Pooling" / "config.json";
  const bool asks = options.pooling == "auto" && is_there(file);
  const bool mean =
      options.pooling == "mean" || (asks && read_json_file(file).get_bool("pooling_mode_mean_tokens", false));
  out.pooling = mean ? runtime::Pooling::Mean : runtime::Pooling::Last;
  return out;
}

// While the model is loaded.
void answer_not_yet(HttpServer& http) {
  const auto [event, id] = http.next(kTick);
  if (event != HttpServer::Event::Request) return;
  const ApiError error(503, "unavailable_error", "the model is being loaded", {}, "loading");
  http.reply(id, 503, {{"content-type", "application/json"}, {"retry-after", "1"}},
             body_of(error, Dialect::OpenAi).dump());
}

// The loop of the main thread.
class Loop {
 public:
  Loop(const ServeOptions& options, const Context& context, Service& service, Signals& signals)
      : options_(options),
        context_(context),
        service_(service),
        signals_(signals),
        jobs_(jobs_for(options, context)),
        workers_(kWorkers, [this](Call call) { route(service_, std::move(call)); }),
        engine_(service, [&context](const std::string& text) { context.log(Severity::Warning, text); }) {}

  int run() {
    service_.jobs = jobs_.get();
    while (signals_.ends() == 0 && !service_.engine_failed) {
      dispatch();
      if (signals_.take_hangup()) reload();
    }
    return drain();
  }

 private:
  static std::unique_ptr<Jobs> jobs_for(const ServeOptions& options, const Context& context) {
    if (options.jobs.folder.empty()) return nullptr;
    return std::make_unique<Jobs>(options.jobs,
                                  [&context](const std::string& text) { context.log(Severity::Warning, text); });
  }

  void say(const std::string& text) const { context_.log(Severity::Info, text); }

  void dispatch() {
    const auto [event, id] = service_.http.next(kTick);
    if (event == HttpServer::Event::Gone) service_.live.gone(id);
    if (event == HttpServer::Event::Request) begin(id);
    if (options_.request_timeout > 0)
      service_.live.stop_older_than(std::chrono::duration<double>(options_.request_timeout));
  }

  void begin(uint64_t id) {
    try {
      Call call{id, service_.http.request(id), nullptr, Dialect::OpenAi, {}};
      call.live = service_.live.begin(service_.engine, id);
      workers_.push(std::move(call));
    } catch (const Error&) {  // its client is gone already
    }
  }

  void reload() {
    try {
      const auto [keys, admin] = all_keys(options_);
      service_.http.set_keys(keys, admin);
      say(cat("keys were read again: ", keys.size()));
    } catch (const std::exception& e) {
      say(cat("keys stay as they were: ", e.what()));
    }
  }

  // Answers that are being made are finished, as far as there is time.
  int drain() {
    service_.is_draining = true;
    service_.http.drain();
    if (jobs_) jobs_->stop();
    say(cat("shutting down, ", service_.live.count(), " requests are open"));
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                        std::chrono::duration<double>(options_.shutdown_timeout));
    const auto is_busy = [&] { return service_.live.count() > 0 || service_.http.active() > 0; };
    while (is_busy() && Clock::now() < end && signals_.ends() < 2 && !service_.engine_failed) dispatch();
    const bool broken = service_.live.count() > 0;
    service_.live.stop_all();
    const auto last = Clock::now() + std::chrono::seconds(2);
    while (is_busy() && Clock::now() < last && !service_.engine_failed) dispatch();
    return broken || service_.engine_failed ? 1 : 0;
  }

  const ServeOptions& options_;
  const Context& context_;
  Service& service_;
  Signals& signals_;
  const std::unique_ptr<Jobs> jobs_;
  Workers workers_;
  EngineThread engine_;
};

}  // namespace

int serve(const ServeOptions& options, const Doors& doors, const Context& context) {
  Signals signals;
  const std::unique_ptr<HttpServer> http = listen(options, doors);
  const bool is_path = !options.http.unix_socket.empty();
  const char* scheme = is_path ? "" : options.http.tls_certificate.empty() ? "http://" : "https://";
  context.log(Severity::Info, cat("listening at ", scheme, http->address()));
  EngineOptions engine_options = options.engine;
  engine_options.max_waiting = options.limits.max_requests * options.limits.max_choices;
  std::future<std::unique_ptr<Engine>> loading =
      std::async(std::launch::async, [&] { return doors.open_engine(engine_options, context); });
  while (loading.wait_for(std::chrono::seconds(0)) != std::future_status::ready) answer_not_yet(*http);
  const std::unique_ptr<Engine> engine = loading.get();
  if (signals.ends() > 0) return 0;
  Service service{*engine, *http, card_of(options, *engine), limits_of(options)};
  context.log(Severity::Info, cat("ready: ", service.model.id, ", ", service.model.context, " tokens of context"));
  return Loop(options, context, service, signals).run();
}

}  // namespace swage::server
