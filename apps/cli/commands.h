// One function a subcommand: adds it, with its options, to the program. What it does when chosen is kept in `chosen`.
#pragma once
#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "apps/cli/console.h"
#include "swage/swage.h"

namespace swage::cli {

// Options that every subcommand has.
struct Common {
  bool json = false, quiet = false, verbose = false;
  std::string log_file;
  std::string device = "auto";
  uint64_t seed = 42;
  std::string architecture;  // empty: as config.json says
  int threads = 0;
  std::shared_ptr<Console> console = std::make_shared<Console>();
};

struct Program {
  CLI::App app{
      "swage compresses large language models: it reads a Hugging Face checkpoint, calibrates, quantizes, "
      "and writes a checkpoint that vLLM and transformers load as it is.",
      "swage"};
  Common common;
  std::function<int()> chosen;

  // Keeps what a command does with its request for the time after parsing.
  template <class Request, class Work>
  void on(CLI::App* command, std::shared_ptr<Request> request, Work work) {
    command->callback(
        [this, request, work] { chosen = [this, request, work] { return work(*request, std::as_const(common)); }; });
  }
};

void add_about(Program& program);  // help, version, completion, and man for make install
void add_bench(Program& program);
void add_chat(Program& program);
void add_compress(Program& program);
void add_convert(Program& program);
void add_estimate(Program& program);
void add_eval(Program& program);
void add_generate(Program& program);
void add_inspect(Program& program);
void add_push(Program& program);
void add_schemes(Program& program);
void add_serve(Program& program);

// --json, -q, -v and --log-file for all; --device, --seed and --threads for those that compute.
void add_json(CLI::App& command, Common& common);
void add_compute(CLI::App& command, Common& common);

// Makes the console as talkative as -q, -v and --log-file say. Before a command begins.
void open_console(const Common& common);
// The context of a run: device, seed, threads, interrupts, and its messages going to the console.
Context make_context(const Common& common);
// The one JSON document of a command, on stdout.
void print_json(const std::string& command, const Json& result);
// "swage 0.1.0", and what this build is in further lines if `verbose`.
std::string version_text(bool verbose);

}  // namespace swage::cli
