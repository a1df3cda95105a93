// The swage program: parses the command line, runs one subcommand, and turns errors into one line and an exit code:
// 0 done, 1 a file or the machine is at fault, 2 the request is, 130 interrupted.
#include <cstdio>
#include <cstring>
#include <string_view>

#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/failure.h"
#include "apps/cli/help.h"
#include "apps/cli/usage.h"
#include "swage/base/file.h"

namespace swage::cli {
namespace {

constexpr const char* kFooter =
    "Start with one of\n"
    "  swage compress MODEL -o OUT -d text.jsonl             4-bit weights, calibrated on your text (GPTQ)\n"
    "  swage compress MODEL -o OUT -d text.jsonl --dry-run   what that takes: memory, size, work\n"
    "  swage estimate MODEL                                  the same without text or weights, with the time\n"
    "  swage eval OUT -d other.jsonl                         perplexity; compare with that of MODEL\n"
    "  swage generate OUT -p \"Hello\"                          see it talk\n"
    "  swage chat OUT                                        talk with it\n"
    "  swage serve OUT                                       let programs talk with it\n"
    "\nMODEL is a folder or a hub id. swage help COMMAND explains a command's options and shows examples.\n\n"
    "Exit codes: 0 done, 1 a file or the machine is at fault, 2 the request is, 130 interrupted.";

bool is_given(int argc, char** argv, std::string_view word, std::string_view short_word = {}) {
  for (int i = 1; i < argc; ++i) {
    if (argv[i] == word || (!short_word.empty() && argv[i] == short_word)) return true;
  }
  return false;
}

// Of an option that is given twice the last one counts, as when a script's defaults are followed by its user's wishes.
void let_the_last_win(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    for (CLI::Option* option : command->get_options()) {
      if (option->nonpositional() && option->get_type_size() != 0 && option->get_items_expected_max() == 1)
        option->take_last();
    }
  }
}

void add_commands(Program& program) {
  program.app.formatter(make_help_formatter());  // before the commands, which inherit it
  program.app.set_version_flag(
      "--version", [] { return version_text(false); },
      "version; with -v build, compiler, vector instructions, libtorch");
  program.app.require_subcommand(1);
  program.app.footer(kFooter);
  add_compress(program);
  add_estimate(program);
  add_eval(program);
  add_generate(program);
  add_chat(program);
  add_serve(program);
  add_bench(program);
  add_inspect(program);
  add_push(program);
  add_schemes(program);
  add_convert(program);
  add_about(program);
  let_the_last_win(program.app);
}

int fail(const Program& program, ErrorKind kind, const std::string& message, const std::string& command, bool json) {
  program.common.console->fail(message);
  if (json) std::puts(error_json(command, kind, message).dump(2).c_str());
  return exit_code(kind);
}

int fail(const Program& program, ErrorKind kind, const std::string& message, bool json) {
  const CLI::App& command = chosen_command(program.app);
  return fail(program, kind, message, command.get_parent() == nullptr ? "" : command.get_name(), json);
}

int run(int argc, char** argv) {
  Program program;
  add_commands(program);
  if (const std::string message = missing_value(program.app, argc, argv); !message.empty())
    return fail(program, ErrorKind::InvalidArgument, message, argv[1], is_given(argc, argv, "--json"));
  try {
    program.app.parse(argc, argv);
  } catch (const CLI::CallForVersion&) {
    program.chosen = [argc, argv] {
      std::fputs(version_text(is_given(argc, argv, "--verbose", "-v")).c_str(), stdout);
      return 0;
    };
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) {  // --help
      program.chosen = [&program] {
        std::fputs(help_of(chosen_command(program.app)).c_str(), stdout);
        return 0;
      };
    } else {
      return fail(program, ErrorKind::InvalidArgument, usage_error(program.app, e, argc, argv),
                  is_given(argc, argv, "--json"));
    }
  } catch (const Error& e) {  // of an option's value
    return fail(program, e.kind(), e.what(), is_given(argc, argv, "--json"));
  }
  try {
    open_console(program.common);
    const int code = program.chosen();
    check_results_are_written();
    return code;
  } catch (const Error& e) {
    return fail(program, e.kind(), e.what(), program.common.json);
  } catch (const std::exception& e) {
    return fail(program, ErrorKind::Internal, cat("internal: ", e.what()), program.common.json);
  }
}

}  // namespace
}  // namespace swage::cli

int main(int argc, char** argv) {
  swage::open_standard_streams();
  swage::cli::keep_freed_memory();
  swage::cli::bound_spinning();
  return swage::cli::run(argc, argv);
}
