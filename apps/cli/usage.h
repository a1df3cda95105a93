// What is wrong with a command line, in one line.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

namespace swage::cli {

// One line on an option that ends, or is followed by another option, without its value; else empty. Before the command
// line is parsed: CLI11 would take the next option for the value.
std::string missing_value(const CLI::App& app, int argc, const char* const* argv);

// The command that was chosen, or the program itself.
const CLI::App& chosen_command(const CLI::App& app);
// What was given and is not known comes before what is missing: a misspelt option is both. With a near name if there is
// one, else where to read on.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error, int argc, const char* const* argv);

}  // namespace swage::cli
