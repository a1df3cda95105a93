// Completion for shells, from the commands and options themselves.
#include <algorithm>
#include <map>
#include <vector>

#include "apps/cli/help.h"
#include "swage/base/error.h"
#include "swage/swage.h"

namespace swage::cli {
namespace {

// What follows an option: one of some words, a file, or anything.
struct Values {
  std::vector<std::string> words;
  bool is_file = false;
};

struct Entry {
  std::vector<std::string> names;  // "--output", "-o"
  std::string description;
  bool takes_value = false;
  Values values;
};

std::string joined(const std::vector<std::string>& words, const char* separator = " ") {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : separator) + word;
  return out;
}

// Letters, digits and dots of a description: nothing that a shell reads as its own.
std::string plain(std::string text) {
  text = text.substr(0, std::min<size_t>({text.find(';'), text.find(':'), 70}));
  std::erase_if(text,
                [](char c) { return std::string_view("'\"`$\\[]:;|&<>!{}()*").find(c) != std::string_view::npos; });
  return text;
}

Values values_of(const CLI::Option& option) {
  static const std::map<std::string, std::vector<std::string>> kWords = {
      {"--method",
       {"gptq", "rtn", "awq", "smoothquant", "spinquant", "quip", "sparsegpt", "wanda", "magnitude", "reap"}},
      {"--quality", {"fast", "balanced", "best"}},
      {"--actorder", {"static", "none", "group"}},
      {"--scale-search", {"absmax", "pnorm", "imatrix"}},
      {"--target", {"weights", "inputs", "residual"}},
      {"--rotate", {"R1", "R1,R2", "R1,R2,R4"}},
      {"--device", {"auto", "cpu", "cuda"}},
      {"--device-map", {"auto", "auto_offload", "cpu", "cuda"}},
      {"--to", {"pack-quantized", "gptq", "gptq_v2", "awq", "dense"}},
      {"--for", {"vllm", "transformers", "sglang", "llama.cpp"}},
      {"--dtype", {"bf16", "f16", "f32"}},
      {"--sort", {"name", "size", "error"}}};
  Values out;
  const std::string name = option.get_name();
  if (name == "--scheme" || name == "--candidates")
    out.words = preset_names();
  else if (const auto found = kWords.find(name); found != kWords.end())
    out.words = found->second;
  const std::string type = option.get_type_name();
  out.is_file =
      out.words.empty() && (type == "FILE" || type == "DIR" || type == "MODEL" || type == "OUT" || type == "DATA");
  return out;
}

std::vector<Entry> entries_of(const CLI::App& command) {
  std::vector<Entry> out;
  for (const CLI::Option* option : command.get_options()) {
    if (!option->nonpositional()) continue;
    Entry entry{{}, plain(option->get_description()), option->get_type_size() != 0, values_of(*option)};
    for (const std::string& name : option->get_lnames()) entry.names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) entry.names.push_back("-" + name);
    out.push_back(std::move(entry));
  }
  return out;
}

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
}

std::vector<std::string> words_of(const std::vector<const CLI::App*>& commands) {
  std::vector<std::string> out;
  for (const CLI::App* command : commands) out.push_back(command->get_name());
  return out;
}

std::string bash(const CLI::App& app) {
  const auto commands = commands_of(app);
  std::string out =
      "# swage completion for bash: source it, or put it into a folder of bash-completion.\n_swage() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\"\"\n"
      "  COMPREPLY=()\n  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W \"" +
      joined(words_of(commands)) +
      " --help --version\" -- \"$cur\"))\n    return\n  fi\n  case \"${COMP_WORDS[1]} $prev\" in\n";
  for (const CLI::App* command : commands) {
    for (const Entry& entry : entries_of(*command)) {
      if (entry.values.words.empty() && !entry.takes_value) continue;
      std::string patterns;
      for (const std::string& name : entry.names)
        patterns += (patterns.empty() ? "\"" : "|\"") + command->get_name() + " " + name + "\"";
      const std::string action = !entry.values.words.empty()
                                     ? cat("COMPREPLY=($(compgen -W \"", joined(entry.values.words), "\" -- \"$cur\"))")
                                 : entry.values.is_file ? "COMPREPLY=($(compgen -f -- \"$cur\"))"
                                                        : "COMPREPLY=()";
      out += "    " + patterns + ") " + action + "; return ;;\n";
    }
  }
  out += "    \"help \"*) COMPREPLY=($(compgen -W \"" + joined(words_of(commands)) +
         "\" -- \"$cur\")); return ;;\n"
         "    \"completion \"*) COMPREPLY=($(compgen -W \"bash zsh fish\" -- \"$cur\")); return ;;\n  esac\n  case "
         "\"${COMP_WORDS[1]}\" in\n";
  for (const CLI::App* command : commands) {
    std::vector<std::string> names;
    for (const Entry& entry : entries_of(*command)) names.insert(names.end(), entry.names.begin(), entry.names.end());
    out += "    " + command->get_name() + ") words=\"" + joined(names) + "\" ;;\n";
  }
  return out +
         "  esac\n  case \"$cur\" in\n    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
         "    *) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n  esac\n}\ncomplete -o filenames -F _swage swage\n";
}

std::string zsh(const CLI::App& app) {
  const auto commands = commands_of(app);
  std::string out =
      "#compdef swage\n# swage completion for zsh: as _swage in a folder of $fpath.\n_swage() {\n  local -a commands\n "
      " commands=(\n";
  for (const CLI::App* command : commands)
    out += "    '" + command->get_name() + ":" + plain(command->get_description()) + "'\n";
  out += "  )\n  if (( CURRENT == 2 )); then\n    _describe command commands\n    return\n  fi\n  case $words[2] in\n";
  for (const CLI::App* command : commands) {
    out += "    " + command->get_name() + ")\n      _arguments \\\n";
    for (const Entry& entry : entries_of(*command)) {
      const std::string value = !entry.takes_value            ? ""
                                : !entry.values.words.empty() ? cat(":value:(", joined(entry.values.words), ")")
                                : entry.values.is_file        ? ":file:_files"
                                                              : ":value:";
      for (const std::string& name : entry.names)
        out += "        '*" + name + "[" + entry.description + "]" + value + "' \\\n";
    }
    const std::string rest = command->get_name() == "help"         ? cat("(", joined(words_of(commands)), ")")
                             : command->get_name() == "completion" ? "(bash zsh fish)"
                                                                   : "_files";
    out += "        '*:argument:" + rest + "'\n      ;;\n";
  }
  return out + "  esac\n}\nif [ \"$funcstack[1]\" = _swage ]; then _swage \"$@\"; else compdef _swage swage; fi\n";
}

std::string fish(const CLI::App& app) {
  const auto commands = commands_of(app);
  std::string out = "# swage completion for fish: as swage.fish in ~/.config/fish/completions.\n";
  for (const CLI::App* command : commands) {
    out += "complete -c swage -f -n __fish_use_subcommand -a " + command->get_name() + " -d '" +
           plain(command->get_description()) + "'\n";
  }
  for (const CLI::App* command : commands) {
    const std::string when = "complete -c swage -n '__fish_seen_subcommand_from " + command->get_name() + "'";
    for (const Entry& entry : entries_of(*command)) {
      out += when;
      for (const std::string& name : entry.names)
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      if (!entry.values.words.empty())
        out += " -x -a '" + joined(entry.values.words) + "'";
      else if (entry.takes_value)
        out += entry.values.is_file ? " -r -F" : " -x";
      out += " -d '" + entry.description + "'\n";
    }
  }
  out += "complete -c swage -f -n '__fish_seen_subcommand_from help' -a '" + joined(words_of(commands)) + "'\n";
  return out + "complete -c swage -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n";
}

}  // namespace

std::string completion_script(const CLI::App& app, const std::string& shell) {
  if (shell == "bash") return bash(app);
  if (shell == "zsh") return zsh(app);
  SWAGE_CHECK(shell == "fish", InvalidArgument, "\"", shell, "\": there is completion for bash, zsh and fish");
  return fish(app);
}

}  // namespace swage::cli
