// The door between the program and libswage.so: the functions that need libtorch, as one table found by name.
#pragma once
#include "swage/swage.h"

namespace swage::api {

struct Functions {
  Json (*compress)(const CompressOptions&, const Context&);
  Json (*evaluate)(const EvaluateOptions&, const Context&);
  Json (*generate)(const GenerateOptions&, const Context&, const GenerateSink&);
  std::string (*resolve_model)(const std::string&, const HubSettings&, const Context&);
  Json (*convert)(const ConvertOptions&, const Context&);
  Json (*estimate)(const EstimateOptions&, const Context&);
  Json (*save_logits)(const LogitsOptions&, const Context&);
  Json (*program_of)(const std::string&);
  Json (*push)(const PushOptions&, const Context&);
  ModelHeaders (*model_headers)(const std::string&, const HubSettings&, const Context&);
  Json (*scheme_sizes)(const std::string&, const HubSettings&, const Context&);
  Json (*about)();
  std::unique_ptr<Engine> (*open_engine)(const EngineOptions&, const Context&);
  std::unique_ptr<net::HttpServer> (*open_http_server)(const net::HttpServerOptions&);
  Json (*bench)(const BenchOptions&, const Context&);
};

}  // namespace swage::api

// Program and library are built together; the version in the name keeps a stale library from being taken for this one.
extern "C" const swage::api::Functions* swage_functions_0_1_0();
