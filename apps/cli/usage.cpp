#include "apps/cli/usage.h"

#include <algorithm>
#include <vector>

#include "swage/base/error.h"
#include "swage/base/fields.h"

namespace swage::cli {
namespace {

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::string without_value(const std::string& word) { return word.substr(0, word.find('=')); }

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> out;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) out.push_back("--" + name);
    for (const std::string& name : option->get_snames()) out.push_back("-" + name);
  }
  return out;
}

// Words of the command line that nothing took, in the order given.
std::vector<size_t> unexpected_words(const CLI::App& app, int argc, const char* const* argv) {
  std::vector<std::string> left = app.remaining(true);
  std::vector<size_t> out;
  for (int i = argc - 1; i > 0; --i) {  // of equal words the last ones: earlier ones were taken
    const auto found = std::find(left.begin(), left.end(), argv[i]);
    if (found == left.end()) continue;
    left.erase(found);
    out.insert(out.begin(), size_t(i));
  }
  return out;
}

// The option that stands last before word `at`, if it takes values one at a time; empty if there is none.
std::string list_option_before(const CLI::App& command, size_t at, const char* const* argv) {
  for (size_t i = at; i-- > 1;) {
    const std::string name = without_value(argv[i]);
    if (!name.starts_with("-")) continue;
    const CLI::Option* option = command.get_option_no_throw(name);
    return option != nullptr && option->get_expected_max() > 1 ? name : std::string();
  }
  return {};
}

}  // namespace

std::string missing_value(const CLI::App& app, int argc, const char* const* argv) {
  const auto named = [&](const CLI::App* sub) { return argc > 1 && sub->get_name() == argv[1]; };
  const std::vector<const CLI::App*> commands = app.get_subcommands(named);
  const CLI::App* command = commands.empty() ? nullptr : commands.front();
  for (int i = 2; command != nullptr && i < argc && argv[i] != std::string_view("--"); ++i) {
    const std::string word = argv[i], name = without_value(word);
    const CLI::Option* option = word.starts_with("-") ? command->get_option_no_throw(name) : nullptr;
    if (option == nullptr || option->get_items_expected_min() == 0) continue;
    const bool is_last = i + 1 == argc, has_equals = name.size() < word.size();
    const bool is_there = has_equals ? name.size() + 1 < word.size()
                                     : !is_last && command->get_option_no_throw(without_value(argv[i + 1])) == nullptr;
    if (!is_there)
      return cat(name, ": a value is missing (swage ", command->get_name(), " --help explains the options)");
    if (!has_equals) ++i;
  }
  return {};
}

const CLI::App& chosen_command(const CLI::App& app) {
  const std::vector<const CLI::App*> chosen = app.get_subcommands([](const CLI::App* sub) { return sub->parsed(); });
  return chosen.empty() ? app : *chosen.front();
}

std::string usage_error(const CLI::App& app, const CLI::ParseError& error, int argc, const char* const* argv) {
  const CLI::App& command = chosen_command(app);
  const bool has_command = &command != &app;
  const std::string help =
      cat(" (", has_command ? cat("swage ", command.get_name()) : "swage", " --help explains the options)");
  const std::vector<size_t> unexpected = unexpected_words(app, argc, argv);
  const auto is_option = [&](size_t i) { return argv[i][0] == '-' && argv[i][1] != '\0'; };
  const bool names_no_command = !has_command && !unexpected.empty() && !is_option(unexpected.front());
  const auto option =
      names_no_command ? unexpected.end() : std::find_if(unexpected.begin(), unexpected.end(), is_option);
  if (option != unexpected.end()) {
    const std::string name = without_value(argv[*option]), near = nearest_name(name, option_names(command));
    return cat("unknown option ", name, near.empty() || near == name ? help : cat("; did you mean ", near, "?"));
  }
  if (unexpected.empty()) return one_line(error.what()) + help;
  const std::string word = argv[unexpected.front()];
  if (!has_command) {
    std::vector<std::string> commands;
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
      commands.push_back(sub->get_name());
    const std::string near = nearest_name(word, commands);
    return cat("\"", word, "\" is no command", near.empty() ? help : cat("; did you mean ", near, "?"));
  }
  const std::string list = list_option_before(command, unexpected.front(), argv);
  return cat("\"", word, "\" is not expected",
             list.empty() ? help : cat("; give ", list, " once for each value: ", list, " ", word));
}

}  // namespace swage::cli
