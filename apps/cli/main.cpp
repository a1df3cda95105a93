// The swage program: parses the command line, runs one subcommand, and turns errors into one line and an exit code:
// 0 done, 1 failed, 2 asked for something that cannot be, 130 interrupted.
#include <algorithm>
#include <cstdio>

#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/progress_view.h"
#include "swage/base/fields.h"

namespace swage::cli {

void add_json(CLI::App& command, Common& common) { command.add_flag("--json", common.json, "print one JSON document"); }

void add_compute(CLI::App& command, Common& common) {
  command.add_option("--device", common.device, "auto, cpu, cuda or cuda:INDEX")->capture_default_str()->type_name("");
  command.add_option("--threads", common.threads, "0: as many as there are processors for this process, by affinity and control groups")->capture_default_str()->type_name("")->check(at_least(0));
  command.add_option("--seed", common.seed, "of everything that is drawn at random")->capture_default_str()->type_name("");
}

CLI::Validator at_least(double least) {
  return {[least](std::string& text) {
            double value = 0;
            const bool number = CLI::detail::lexical_cast(text, value) && value >= least;
            return number ? std::string() : cat("\"", text, "\": expected a number from ", least, " on");
          },
          ""};
}

namespace {

// One line: what is wrong, with a near option if there is one, and where to read on.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<const CLI::App*> chosen = app.get_subcommands([](const CLI::App* sub) { return sub->parsed(); });
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  std::string text = error.what();
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options()) known.push_back(option->get_name());
  if (chosen.empty()) {
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) known.push_back(sub->get_name());
  }
  const std::vector<std::string> unexpected_words = app.remaining(true);
  if (chosen.empty() && !unexpected_words.empty()) text = cat("\"", unexpected_words.front(), "\" is no command");
  for (const std::string& unexpected : unexpected_words) {
    const std::string near = nearest_name(unexpected.substr(0, unexpected.find('=')), known);
    if (!near.empty() && near != unexpected) return cat(text, "; did you mean ", near, "?");
  }
  return cat(text, " (", chosen.empty() ? "swage" : cat("swage ", command.get_name()), " --help explains the options)");
}

int exit_code(ErrorKind kind) {
  if (kind == ErrorKind::Cancelled) return 130;
  return kind == ErrorKind::InvalidArgument ? 2 : 1;
}

int run(int argc, char** argv) {
  Program program;
  program.app.set_version_flag("--version", std::string("swage ") + kVersion);
  program.app.require_subcommand(1);
  program.app.footer("Start with one of\n"
                     "  swage compress MODEL -o OUT -d text.jsonl             4-bit weights, calibrated on your text (GPTQ)\n"
                     "  swage compress MODEL -o OUT -d text.jsonl --dry-run   what that takes: memory, size, work\n"
                     "  swage estimate MODEL                                  the same without text or weights, with the time\n"
                     "  swage eval OUT -d other.jsonl                         perplexity; compare with that of MODEL\n"
                     "  swage generate OUT -p \"Hello\"                          see it talk\n"
                     "MODEL is a folder or a hub id. swage COMMAND --help explains a command's options and shows examples.\n\n"
                     "Exit codes: 0 done, 1 a file or the machine is at fault, 2 the request is, 130 interrupted.");
  add_compress(program);
  add_convert(program);
  add_estimate(program);
  add_eval(program);
  add_generate(program);
  add_inspect(program);
  add_push(program);
  try {
    program.app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return program.app.exit(e);  // --help, --version
    std::fprintf(stderr, "swage: error: %s\n", usage_error(program.app, e).c_str());
    return 2;
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

int main(int argc, char** argv) {
  swage::cli::keep_freed_memory();
  swage::cli::bound_spinning();
  return swage::cli::run(argc, argv);
}
