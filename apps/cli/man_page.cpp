// swage(1), from the texts of --help.
#include <algorithm>

#include "apps/cli/help.h"
#include "swage/base/error.h"
#include "swage/base/version.h"

namespace swage::cli {
namespace {

// Text for roff: backslashes and hyphens are escaped, and no line begins with a control character.
std::string roff(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool at_start = i == 0 || text[i - 1] == '\n';
    if (at_start && (text[i] == '.' || text[i] == '\'')) out += "\\&";
    if (text[i] == '\\')
      out += "\\e";
    else if (text[i] == '-')
      out += "\\-";
    else
      out += text[i];
  }
  return out;
}

std::string option_entry(const CLI::Option& option) {
  const bool positional = option.get_positional() && !option.nonpositional();
  std::string out = ".TP\n\\fB" + roff(positional ? option.get_name(true) : option.get_name(false, true)) + "\\fR";
  if (!positional && option.get_type_size() != 0 && !option.get_type_name().empty())
    out += " \\fI" + roff(option.get_type_name()) + "\\fR";
  out += "\n" + roff(option.get_description());
  if (!option.get_default_str().empty()) out += " [" + roff(option.get_default_str()) + "]";
  return out + "\n";
}

// Paragraphs, and examples as they stand.
std::string footer(const std::string& text) {
  std::string out;
  bool example = false;
  for (const std::string& line : CLI::detail::split(text, '\n')) {
    const bool indented = line.starts_with("  ");
    if (indented != example) out += indented ? ".PP\n.nf\n" : ".fi\n";
    example = indented;
    out += line.empty() ? ".PP\n" : roff(line) + "\n";
  }
  return out + (example ? ".fi\n" : "");
}

std::string options_of(const CLI::App& command) {
  std::string out, group;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group().empty()) continue;
    if (option->get_group() != group && option->nonpositional()) {
      group = option->get_group();
      out += ".PP\n\\fI" + roff(group) + "\\fR\n";
    }
    out += option_entry(*option);
  }
  return out;
}

}  // namespace

std::string man_page(const CLI::App& app) {
  std::string out = cat(".TH SWAGE 1 \"\" \"swage ", kVersion,
                        "\" \"User Commands\"\n.SH NAME\nswage \\- compress large language models\n.SH SYNOPSIS\n");
  const auto commands = app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
  for (const CLI::App* command : commands)
    out += cat(".B swage ", roff(command->get_name()), "\n[\\fIoptions\\fR]\n.br\n");
  out += ".SH DESCRIPTION\n" + footer(app.get_description()) + footer(app.get_footer()) + ".SH COMMANDS\n";
  for (const CLI::App* command : commands) {
    out += cat(".SS swage ", roff(command->get_name()), "\n", roff(command->get_description()), "\n",
               options_of(*command), ".PP\n", footer(command->get_footer()));
  }
  out +=
      ".SH ENVIRONMENT\n.TP\n\\fBHF_HOME\\fR, \\fBHF_HUB_CACHE\\fR, \\fBHF_ENDPOINT\\fR, \\fBHF_TOKEN\\fR, "
      "\\fBHF_HUB_OFFLINE\\fR\n"
      "As the Python hub library reads them.\n.TP\n\\fBTERM\\fR\n\"dumb\": progress in plain lines, without control "
      "characters.\n"
      ".TP\n\\fBNO_COLOR\\fR\nHonoured always: swage prints no colours.\n.TP\n\\fBCOLUMNS\\fR\nWidth of help that does "
      "not go to a terminal.\n";
  return out + ".SH EXIT STATUS\n0 done; 1 a file or the machine is at fault; 2 the request is; 130 interrupted.\n";
}

}  // namespace swage::cli
