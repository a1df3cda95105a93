#include "apps/cli/help.h"

#include <algorithm>

#include "apps/cli/environment.h"
#include "apps/cli/text.h"

namespace swage::cli {
namespace {

constexpr size_t kNames = 30;                  // characters of the column of names
constexpr int kNarrowest = 50, kWidest = 110;  // of the whole text

size_t help_width() { return size_t(std::clamp(help_columns(), kNarrowest, kWidest)); }

// "  name      what it is", the second column wrapped; a long name has a line of its own.
std::string entry(const std::string& name, const std::string& description) {
  std::string out = "  " + name;
  if (description.empty()) return out + "\n";
  const std::string indent(kNames, ' ');
  const bool beside = out.size() + 2 <= kNames;
  out += beside ? std::string(kNames - out.size(), ' ') : "\n" + indent;
  const char* separator = "";
  for (const std::string& line : wrapped(description, help_width() - kNames)) {
    out += separator + line + "\n";
    separator = indent.c_str();
  }
  return out;
}

// An example "  command   what it does" as two columns where there is room, else below each other; a long command goes
// on after a backslash. Names that are no command of swage's stand nearer to what they mean.
std::string example(const std::string& line) {
  const size_t begin = line.find_first_not_of(' ');
  const bool is_command = line.compare(begin, 6, "swage ") == 0;
  const size_t gap = line.find(is_command ? "   " : "  ", begin);
  const std::string indent(begin, ' ');
  const std::string command = line.substr(begin, gap == std::string::npos ? gap : gap - begin);
  const size_t right = gap == std::string::npos ? gap : line.find_first_not_of(' ', gap);
  if (line.size() <= help_width()) return line + "\n";
  std::string out;
  const std::vector<std::string> lines = wrapped(command, help_width() - begin - 6);
  for (size_t i = 0; i < lines.size(); ++i)
    out += indent + (i > 0 ? "    " : "") + lines[i] + (i + 1 < lines.size() && is_command ? " \\\n" : "\n");
  if (right == std::string::npos) return out;
  for (const std::string& part : wrapped(line.substr(right), help_width() - begin - 6))
    out += indent + "      " + part + "\n";
  return out;
}

// Indented lines are examples; others are paragraphs, up to an empty line or an example.
std::string flowing(const std::string& text) {
  std::string out, paragraph;
  const auto end_paragraph = [&] {
    if (paragraph.empty()) return;
    for (const std::string& line : wrapped(paragraph, help_width())) out += line + "\n";
    paragraph.clear();
  };
  for (const std::string& line : CLI::detail::split(text, '\n')) {
    if (!line.empty() && line[0] != ' ') {
      paragraph += paragraph.empty() ? line : " " + line;
      continue;
    }
    end_paragraph();
    out += line.empty() ? "\n" : example(line);
  }
  end_paragraph();
  return out;
}

class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option(const CLI::Option* option, bool is_positional) const override {
    return entry(make_option_name(option, is_positional) + make_option_opts(option), make_option_desc(option));
  }
  std::string make_subcommand(const CLI::App* sub) const override {
    return entry(sub->get_name(), sub->get_description());
  }
  std::string make_footer(const CLI::App* app) const override { return flowing(app->get_footer()); }
  std::string make_group(std::string group, bool is_positional,
                         std::vector<const CLI::Option*> options) const override {
    std::string out = "\n";
    for (const std::string& line : wrapped(group + ":", help_width())) out += line + "\n";
    for (const CLI::Option* option : options) out += make_option(option, is_positional);
    return out;
  }
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override {
    const std::string text = CLI::Formatter::make_help(app, name, mode), description = make_description(app);
    return flowing(description) + text.substr(description.size());
  }
};

}  // namespace

std::shared_ptr<CLI::Formatter> make_help_formatter() { return std::make_shared<HelpFormatter>(); }

std::string help_of(const CLI::App& command) {
  const std::string name = command.get_parent() == nullptr ? "swage" : "swage " + command.get_name();
  return HelpFormatter().make_help(&command, name, CLI::AppFormatMode::Normal);
}

}  // namespace swage::cli
