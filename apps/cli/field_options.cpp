#include "apps/cli/field_options.h"

#include <algorithm>
#include <iterator>

#include "apps/cli/commands.h"
#include "apps/cli/numbers.h"
#include "swage/base/error.h"

namespace swage::cli {
namespace {

// What the help calls a value, and a short name of the option.
struct Spelling {
  std::string_view field;
  const char *short_name, *value;
};
constexpr Spelling kSpellings[] = {
    {"data", "-d,", "DATA"},        {"device_map", "", "MAP"},     {"max_memory", "", "cpu=SIZE"},
    {"max_shard_size", "", "SIZE"}, {"offload_folder", "", "DIR"}, {"recipe", "", "FILE"},
    {"text_column", "", "NAME"},    {"to", "", "FORMAT"},          {"trace", "", "FILE"}};

Spelling spelling_of(std::string_view field) {
  const auto found = std::find_if(std::begin(kSpellings), std::end(kSpellings),
                                  [&](const Spelling& one) { return one.field == field; });
  return found == std::end(kSpellings) ? Spelling{field, "", ""} : *found;
}

}  // namespace

std::string flag_of(std::string field) {
  std::replace(field.begin(), field.end(), '_', '-');
  return "--" + field;
}

void FieldOptions::place(CLI::Option& option) const {
  if (!group_.empty()) option.group(group_);
}

void FieldOptions::operator()(std::string_view name, bool& value, const char* help) {
  const std::string field(name);
  place(value ? *command_.add_flag_callback(
                    flag_of("no_" + field), [&value] { value = false; }, help)
              : *command_.add_flag(flag_of(field), value, help));
}

// Counts of rows and tokens: their product fits into 64 bits.
void FieldOptions::operator()(std::string_view name, int64_t& value, const char* help) {
  auto* option = command_.add_option(flag_of(std::string(name)), value, help);
  place(*option->capture_default_str()->type_name("")->check(whole_number<int32_t>(1)));
}

void FieldOptions::operator()(std::string_view name, std::optional<double>& value, const char* help) {
  place(*command_.add_option(flag_of(std::string(name)), value, help)->type_name("")->check(real_number({})));
}

void FieldOptions::operator()(std::string_view name, std::string& value, const char* help) {
  const Spelling spelling = spelling_of(name);
  auto* option = command_.add_option(spelling.short_name + flag_of(std::string(name)), value, help);
  if (!value.empty()) option->capture_default_str();
  place(*option->type_name(spelling.value));
}

void FieldOptions::add_text(std::string_view name, const std::string& value,
                            std::function<void(const std::string&)> read, const char* help) {
  const std::string flag = flag_of(std::string(name));
  const auto take = [flag, read = std::move(read)](const std::string& text) {
    try {
      read(text);
    } catch (Error& e) {
      e.add_context(flag);
      throw;
    }
  };
  auto* option = command_.add_option_function<std::string>(flag, take, help);
  if (!value.empty()) option->default_str(value);
  place(*option->type_name(spelling_of(name).value));
}

void FieldOptions::operator()(std::string_view name, std::vector<std::string>& value, const char* help) {
  auto* option = command_.add_option(flag_of(std::string(name)), value, help);
  place(*option->delimiter(',')->allow_extra_args(false)->type_name(""));
}

}  // namespace swage::cli
