// swage serve: one model behind HTTP, as OpenAI's and Text Generation Inference's clients talk. This folder says what
// requests mean; it knows the engine and the transport by swage.h alone.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/server/jobs.h"
#include "apps/server/service.h"

namespace swage::server {

struct ServeOptions {
  EngineOptions engine;
  net::HttpServerOptions http;
  Limits limits;
  JobOptions jobs;
  std::string pooling = "auto";               // of embeddings: "last", "mean"
  std::string model_name;                     // that clients ask for; empty: the model's folder or id
  double request_timeout = 600;               // seconds that an answer may take; 0: any
  double shutdown_timeout = 30;               // seconds that answers have after SIGTERM
  std::string keys_file, admin_keys_file;     // a key a line
  std::vector<std::string> keys, admin_keys;  // beside those of the files
};

// Where the engine and the transport come from.
struct Doors {
  std::function<std::unique_ptr<Engine>(const EngineOptions&, const Context&)> open_engine;
  std::function<std::unique_ptr<net::HttpServer>(const net::HttpServerOptions&)> open_http_server;
};

// Until SIGTERM or SIGINT. What the program returns: 0, or 1 if answers had to be broken off or the engine failed.
int serve(const ServeOptions& options, const Doors& doors, const Context& context);

}  // namespace swage::server
