// The help of the program, wrapped to the terminal, and what is made of the same texts: the man page, completion for
// shells.
#pragma once
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

namespace swage::cli {

std::shared_ptr<CLI::Formatter> make_help_formatter();
// The text of one command or of the program itself.
std::string help_of(const CLI::App& command);
// swage(1), in roff.
std::string man_page(const CLI::App& app);
// A script for bash, zsh or fish that completes commands, options and their values. Error(InvalidArgument) for another
// shell.
std::string completion_script(const CLI::App& app, const std::string& shell);

}  // namespace swage::cli
