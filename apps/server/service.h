// What all requests share.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "apps/server/api_error.h"
#include "apps/server/live.h"
#include "apps/server/metrics.h"

namespace swage::server {

struct ModelCard {
  std::string id;
  int64_t created = 0;  // seconds since 1970
  int64_t context = 0;  // tokens of prompt and answer
  int64_t vocabulary = 0;
  int64_t hidden = 0;  // numbers of an embedding
};

struct Limits {
  int64_t max_requests = 1024;     // that are answered or wait; more are refused
  int64_t max_prompt_tokens = 0;   // 0: as the context allows
  int64_t default_max_tokens = 0;  // where a chat says nothing; 0: up to the context's end
  int64_t max_choices = 16;        // of all prompts of a request
  int64_t max_best_of = 8;
  int64_t max_stop_strings = 16;
  int64_t max_sequences = 64;
  bool log_prompts = false;
  runtime::Pooling pooling = runtime::Pooling::Last;  // of embeddings
};

// Texts of single tokens, which alternatives are shown with. Thread-safe.
class TokenTexts {
 public:
  explicit TokenTexts(const Engine& engine);
  std::string of(int64_t id);
  bool is_special(int64_t id);  // left out of texts

 private:
  struct Known {
    std::string text;
    bool special;
  };
  const Known& known(int64_t id);

  const Engine& engine_;
  int64_t before_ = -1;  // a token that others are shown behind: some lose a space at a text's beginning
  std::mutex mutex_;
  std::map<int64_t, Known> known_;
};

class Jobs;

struct Service {
  Engine& engine;
  net::HttpServer& http;
  const ModelCard model;
  const Limits limits;
  Metrics metrics{};
  LiveRequests live{};
  TokenTexts texts{engine};
  Jobs* jobs = nullptr;  // none are taken
  std::atomic<bool> is_draining{false}, engine_failed{false};
};

// One request on its way through a handler.
struct Call {
  uint64_t id;
  net::HttpRequest request;
  std::shared_ptr<Live> live;
  Dialect dialect = Dialect::OpenAi;
  std::string rest;  // of the path, behind a route's '*'
};

void reply_json(Service& service, const Call& call, int status, const Json& body, net::HttpHeaders more = {});
void reply_text(Service& service, const Call& call, int status, const std::string& type, std::string_view body);
void reply_error(Service& service, const Call& call, const ApiError& error);

}  // namespace swage::server
