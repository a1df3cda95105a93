// What the commands share.
#include <cstdio>

#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/failure.h"
#include "apps/cli/library.h"
#include "apps/cli/numbers.h"
#include "apps/cli/text.h"

namespace swage::cli {

void add_json(CLI::App& command, Common& common) {
  command.add_flag("--json", common.json, "print one JSON document, errors too (docs/json.md)");
  command.add_flag("-q,--quiet", common.quiet, "no progress, no messages: warnings, errors and the result only");
  command.add_flag("-v,--verbose", common.verbose,
                   "every step of progress in a line of its own, and where the time went");
  command
      .add_option("--log-file", common.log_file,
                  "also write everything that -v would say to this file, with times; goes on at its end")
      ->type_name("FILE");
}

void add_compute(CLI::App& command, Common& common) {
  command.add_option("--device", common.device, "auto, cpu, cuda or cuda:INDEX")->capture_default_str()->type_name("");
  command
      .add_option("--threads", common.threads,
                  "0: as many as there are processors for this process, by affinity and control groups")
      ->capture_default_str()
      ->type_name("")
      ->check(whole_number<int>(0));
  command
      .add_option("--architecture", common.architecture,
                  "take the model for one of this model_type, whatever its config.json says: names and shapes of its "
                  "tensors are compared first")
      ->type_name("TYPE");
  command.add_option("--seed", common.seed, "of everything that is drawn at random")
      ->capture_default_str()
      ->type_name("")
      ->check(whole_number<uint64_t>(0));
}

void open_console(const Common& common) {
  SWAGE_CHECK(!common.quiet || !common.verbose, InvalidArgument, "--quiet and --verbose exclude each other");
  common.console->open(common.quiet     ? Verbosity::Quiet
                       : common.verbose ? Verbosity::Verbose
                                        : Verbosity::Normal,
                       common.log_file);
}

Context make_context(const Common& common) {
  const std::shared_ptr<Console> console = common.console;
  Context context;
  context.device = parse_device(common.device);
  add_gpu_settings(context.device);
  context.seed = common.seed;
  context.architecture = common.architecture;
  context.threads = common.threads;
  context.cancel = &catch_interrupts();
  context.log = [console](Severity severity, const std::string& message) { console->say(severity, message); };
  context.progress = [console](const ProgressEvent& event) { console->show(event); };
  return context;
}

void print_json(const std::string& command, const Json& result) {
  std::puts(with_head(command, result).dump(2).c_str());
}

std::string version_text(bool verbose) {
  std::string out = cat("swage ", kVersion, "\n");
  if (!verbose) return out;
  const Json about = library().about();
  return out +
         two_columns({{"build", about.get_string("build_id", "")},
                      {"compiler", about.get_string("compiler", "")},
                      {"vectors", about.get_string("isa", "")},
                      {"threads", cat(about.get_int("threads", 0))},
                      {"libtorch", cat(about.get_string("libtorch", ""), ", ", about.get_string("libtorch_isa", ""))}});
}

}  // namespace swage::cli
