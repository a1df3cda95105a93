// The swage program: parses the command line, runs one subcommand, and turns errors into one line and an exit code:
// 0 done, 1 failed, 2 asked for something that cannot be, 130 interrupted.
#include <cstdio>

#include "apps/cli/commands.h"
#include "apps/cli/progress_view.h"

namespace swage::cli {

void add_json(CLI::App& command, Common& common) { command.add_flag("--json", common.json, "print one JSON document"); }

void add_compute(CLI::App& command, Common& common) {
  command.add_option("--device", common.device, "auto, cpu, cuda or cuda:INDEX")->capture_default_str()->type_name("");
  command.add_option("--threads", common.threads, "0: as many as there are processors")->capture_default_str()->type_name("")->check(CLI::NonNegativeNumber);
  command.add_option("--seed", common.seed, "of everything that is drawn at random")->capture_default_str()->type_name("");
}

namespace {

int exit_code(ErrorKind kind) {
  if (kind == ErrorKind::Cancelled) return 130;
  return kind == ErrorKind::InvalidArgument ? 2 : 1;
}

int run(int argc, char** argv) {
  Program program;
  program.app.set_version_flag("--version", std::string("swage ") + kVersion);
  program.app.require_subcommand(1);
  program.app.failure_message(CLI::FailureMessage::simple);
  add_compress(program);
  add_eval(program);
  add_generate(program);
  add_inspect(program);
  try {
    program.app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = program.app.exit(e);
    return code == 0 ? 0 : 2;
  }
  try {
    return program.chosen();
  } catch (const Error& e) {
    end_progress();
    std::fprintf(stderr, "swage: error: %s\n", e.what());
    return exit_code(e.kind());
  } catch (const std::exception& e) {
    end_progress();
    std::fprintf(stderr, "swage: internal error: %s\n", e.what());
    return 1;
  }
}

}  // namespace
}  // namespace swage::cli

int main(int argc, char** argv) { return swage::cli::run(argc, argv); }
