// What the program says of itself: help, version, completion, its man page.
#include <cstdio>

#include "apps/cli/commands.h"
#include "apps/cli/help.h"
#include "apps/cli/library.h"

namespace swage::cli {
namespace {

void add_help(Program& program) {
  auto topic = std::make_shared<std::string>();
  CLI::App* command = program.app.add_subcommand("help", "explain a command");
  command->footer("Example:\n  swage help compress");
  command->add_option("command", *topic, "which one; without it an overview")->type_name("COMMAND");
  program.on(command, topic, [&program](const std::string& name, const Common&) {
    const std::vector<CLI::App*> named =
        program.app.get_subcommands([&](CLI::App* sub) { return sub->get_name() == name; });
    SWAGE_CHECK(name.empty() || !named.empty(), InvalidArgument, "help: \"", name,
                "\" is no command; swage --help lists them");
    std::fputs(help_of(name.empty() ? program.app : *named.front()).c_str(), stdout);
    return 0;
  });
}

void add_version(Program& program) {
  CLI::App* command =
      program.app.add_subcommand("version", "version; with -v build, compiler, vector instructions, libtorch");
  add_json(*command, program.common);
  program.on(command, std::make_shared<int>(0), [](int, const Common& common) {
    if (common.json)
      print_json("version", library().about());
    else
      std::fputs(version_text(common.verbose).c_str(), stdout);
    return 0;
  });
}

void add_completion(Program& program) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      program.app.add_subcommand("completion", "print a script that completes commands and options in a shell");
  command->footer(
      "Examples:\n  source <(swage completion bash)\n  swage completion zsh > ~/.zfunc/_swage\n"
      "  swage completion fish > ~/.config/fish/completions/swage.fish");
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->type_name("SHELL");
  program.on(command, shell, [&program](const std::string& name, const Common&) {
    std::fputs(completion_script(program.app, name).c_str(), stdout);
    return 0;
  });
}

}  // namespace

void add_about(Program& program) {
  add_help(program);
  add_version(program);
  add_completion(program);
  CLI::App* man = program.app.add_subcommand("man", "print the manual page, in roff")->group("");
  program.on(man, std::make_shared<int>(0), [&program](int, const Common&) {
    std::fputs(man_page(program.app).c_str(), stdout);
    return 0;
  });
}

}  // namespace swage::cli
