// Options of the command line from structs that say their fields in a visit: --max-seq-length for max_seq_length.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/fields.h"

namespace swage::cli {

// "--max-seq-length" for "max_seq_length".
std::string flag_of(std::string field);

// Adds an option for each field it visits, in one group of the help, which writes into the field. What is true by
// itself is a flag that denies it: --no-pack, with the help that goes with it. The struct must outlive `command`.
class FieldOptions {
 public:
  // Empty: the group of options that belong to none.
  explicit FieldOptions(CLI::App& command, std::string group = "") : command_(command), group_(std::move(group)) {}

  void operator()(std::string_view name, bool& value, const char* help);
  void operator()(std::string_view name, int64_t& value, const char* help);  // from 1 on
  void operator()(std::string_view name, std::optional<double>& value, const char* help);
  void operator()(std::string_view name, std::string& value, const char* help);
  void operator()(std::string_view name, std::vector<std::string>& value, const char* help);  // between commas
  template <SaidAsText T>
  void operator()(std::string_view name, T& value, const char* help) {
    add_text(name, to_string(value), [&value](const std::string& text) { read_text(text, value); }, help);
  }

 private:
  void add_text(std::string_view name, const std::string& value, std::function<void(const std::string&)> read,
                const char* help);
  void place(CLI::Option& option) const;

  CLI::App& command_;
  const std::string group_;
};

}  // namespace swage::cli
