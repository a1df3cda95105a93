#include <filesystem>

#include "apps/cli/commands.h"
#include "apps/cli/engine_options.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/numbers.h"
#include "apps/cli/text.h"
#include "apps/server/server.h"

namespace swage::cli {
namespace {

using server::ServeOptions;
constexpr const char* kNetwork = "Network";
constexpr const char* kAccess = "Access";
constexpr const char* kLimits = "Limits";
constexpr const char* kJobs = "Compressions";

constexpr int64_t kBesideTokens = 64;

struct ServeAsked {
  ServeOptions serve;
  std::string host = "127.0.0.1";
  int64_t port = 8000, max_body = 8, header_timeout = 60;
};

// "::1" as it stands before a port.
std::string host_of(const std::string& host) {
  return host.find(':') != std::string::npos && host[0] != '[' ? cat("[", host, "]") : host;
}

int run_serve(const ServeAsked& asked, const Common& common) {
  ServeOptions options = asked.serve;
  options.engine.hub = hub_settings();
  options.http.address = cat(host_of(asked.host), ":", asked.port);
  options.http.max_body = uint64_t(asked.max_body) << 20;
  options.http.header_time = std::chrono::seconds(asked.header_timeout);
  options.limits.max_sequences = options.engine.max_sequences;
  SWAGE_CHECK(options.http.tls_certificate.empty() == options.http.tls_key.empty(), InvalidArgument,
              "--tls-cert and --tls-key belong together");
  if (const auto key = options.engine.hub.variable("SWAGE_API_KEY"); key && !key->empty()) options.keys.push_back(*key);
  if (const auto key = options.engine.hub.variable("SWAGE_ADMIN_KEY"); key && !key->empty())
    options.admin_keys.push_back(*key);
  options.jobs.program = std::filesystem::read_symlink("/proc/self/exe").string();
  SWAGE_CHECK(options.jobs.folder.empty() || !options.jobs.model_roots.empty(), InvalidArgument,
              "--jobs: give --job-models, the folder below which models lie");
  const Context context = make_context(common);
  const api::Functions& functions = library();
  const server::Doors doors{functions.open_engine, functions.open_http_server};
  return server::serve(options, doors, context);
}

template <class Value>
CLI::Option* add_plain(CLI::App& command, const char* name, Value& value, const char* help, const char* group) {
  return command.add_option(name, value, help)->capture_default_str()->type_name("")->group(group);
}

void add_network(CLI::App& command, ServeAsked& asked) {
  net::HttpServerOptions& http = asked.serve.http;
  add_plain(command, "--host", asked.host, "address to listen at; 0.0.0.0 for all", kNetwork);
  add_plain(command, "--port", asked.port, "0: one that is free", kNetwork)->check(CLI::Range(0, 65535));
  command.add_option("--unix-socket", http.unix_socket, "listen at this path instead")
      ->type_name("PATH")
      ->group(kNetwork);
  command.add_option("--tls-cert", http.tls_certificate, "certificates, as PEM: speak TLS")
      ->type_name("FILE")
      ->group(kNetwork);
  command.add_option("--tls-key", http.tls_key, "their private key, as PEM")->type_name("FILE")->group(kNetwork);
  command
      .add_option("--cors-origin", http.cors_origins,
                  "pages of this origin may read answers; * for all; may be given several times")
      ->type_name("ORIGIN")
      ->group(kNetwork);
  command.add_option("--access-log", http.access_log, "a line of JSON a request, to this file; - for stderr")
      ->type_name("FILE")
      ->group(kNetwork);
  command.add_flag("--log-prompts", asked.serve.limits.log_prompts, "prompts too")->group(kNetwork);
}

void add_access(CLI::App& command, ServeAsked& asked) {
  command
      .add_option("--api-key-file", asked.serve.keys_file,
                  "a key a line, read again on SIGHUP; SWAGE_API_KEY holds one too")
      ->type_name("FILE")
      ->group(kAccess);
  command
      .add_option("--admin-key-file", asked.serve.admin_keys_file,
                  "keys that may change the server; SWAGE_ADMIN_KEY holds one too")
      ->type_name("FILE")
      ->group(kAccess);
}

void add_limits(CLI::App& command, ServeAsked& asked) {
  ServeOptions& serve = asked.serve;
  server::Limits& limits = serve.limits;
  add_plain(command, "--max-concurrent-requests", limits.max_requests,
            "that are answered or wait; more are refused with 429", kLimits)
      ->check(whole_number<int64_t>(1));
  add_plain(command, "--max-sequences", serve.engine.max_sequences, "answers that are made side by side", kLimits)
      ->check(whole_number<int64_t>(1));
  add_plain(command, "--step-tokens", serve.engine.step_tokens,
            "computed in one step: long prompts are read in pieces of so many", kLimits)
      ->check(whole_number<int64_t>(1));
  add_plain(command, "--step-tokens-beside", serve.engine.beside_tokens,
            "of prompts, in a step that goes on with answers too: fewer are steadier streams and later first tokens",
            kLimits)
      ->check(whole_number<int64_t>(1));
  add_plain(command, "--max-input-tokens", limits.max_prompt_tokens, "of a prompt; 0: as the context allows", kLimits)
      ->check(whole_number<int64_t>(0));
  add_plain(command, "--default-max-tokens", limits.default_max_tokens,
            "of a chat's answer that asks for no limit; 0: up to the context's end", kLimits)
      ->check(whole_number<int64_t>(0));
  add_plain(command, "--max-body", asked.max_body, "MiB of a request", kLimits)->check(whole_number(1, 1 << 20));
  add_plain(command, "--max-connections", serve.http.max_connections, "open at a time; more wait", kLimits)
      ->check(whole_number<uint64_t>(1));
  add_plain(command, "--idle-timeout", asked.header_timeout,
            "seconds that a connection may say nothing between requests", kLimits)
      ->check(whole_number<int64_t>(1));
  add_plain(command, "--request-timeout", serve.request_timeout, "seconds that an answer may take; 0: any", kLimits)
      ->check(real_number({.least = 0}));
  add_plain(command, "--shutdown-timeout", serve.shutdown_timeout, "seconds that answers have after SIGTERM", kLimits)
      ->check(real_number({.least = 0}));
}

void add_jobs(CLI::App& command, ServeAsked& asked) {
  server::JobOptions& jobs = asked.serve.jobs;
  command
      .add_option("--jobs", jobs.folder,
                  "take compressions over HTTP, from administrators, and keep them in this folder")
      ->type_name("DIR")
      ->group(kJobs);
  command
      .add_option("--job-models", jobs.model_roots, "their models lie below this folder; may be given several times")
      ->type_name("DIR")
      ->group(kJobs);
  command.add_option("--job-data", jobs.data_roots, "their texts lie below this folder; may be given several times")
      ->type_name("DIR")
      ->group(kJobs);
  command.add_option("--job-memory", jobs.max_memory, "of each, planned beforehand")->type_name("SIZE")->group(kJobs);
}

}  // namespace

void add_serve(Program& program) {
  const auto o = std::make_shared<ServeAsked>();
  o->serve.engine.beside_tokens = kBesideTokens;
  CLI::App* command = program.app.add_subcommand("serve", "answer over HTTP, as OpenAI's and TGI's servers do");
  command->footer(
      "Examples:\n"
      "  swage serve ./MyModel-W4A16\n"
      "  swage serve ./MyModel-W4A16 --host 0.0.0.0 --port 80 --api-key-file keys.txt\n"
      "  curl http://127.0.0.1:8000/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": "
      "\"Hello\"}]}'");
  command->add_option("model", o->serve.engine.model, "folder or hub id")->required()->type_name("MODEL");
  command
      ->add_option("--model-name", o->serve.model_name, "that clients ask for; the folder's name or the id otherwise")
      ->type_name("NAME");
  command
      ->add_option("--pooling", o->serve.pooling,
                   "what an embedding is made of: last (token), mean, or auto: as the model's folder says, else last")
      ->capture_default_str()
      ->type_name("")
      ->check(CLI::IsMember({"auto", "last", "mean"}));
  add_network(*command, *o);
  add_access(*command, *o);
  add_limits(*command, *o);
  add_jobs(*command, *o);
  add_engine(*command, o->serve.engine);
  add_compute(*command, program.common);
  add_json(*command, program.common);
  program.on(command, o, run_serve);
}

}  // namespace swage::cli
