#include "apps/cli/recipe_options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "apps/cli/field_options.h"
#include "swage/base/error.h"
#include "swage/swage.h"

namespace swage::cli {
namespace {

constexpr std::string_view kAnyMethod = "gptq, rtn, sparsegpt, wanda, magnitude";  // and one that quantizes nothing

template <class T>
Json parse_number(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool all = end == text.data() + text.size();
  SWAGE_CHECK(!all || error != std::errc::result_out_of_range, InvalidArgument, "\"", text,
              "\": larger or smaller than any number that fits, ", std::numeric_limits<T>::max());
  SWAGE_CHECK(error == std::errc() && all && std::isfinite(double(value)), InvalidArgument, "\"", text,
              "\": expected a ", std::is_integral_v<T> ? "whole number" : "number");
  return Json(value);
}

Json parse_bool(const std::string& text) {
  SWAGE_CHECK(text == "true" || text == "false", InvalidArgument, "\"", text, "\": expected true or false");
  return Json(text == "true");
}

// Visits a modifier's config and makes an option of each field. Fields that several modifiers have become one option.
class OptionMaker {
 public:
  OptionMaker(RecipeOptions& options, std::string method) : options_(options), method_(std::move(method)) {}

  void operator()(std::string_view name, bool&, std::string_view help) { add(name, help, parse_bool); }
  void operator()(std::string_view name, std::optional<bool>&, std::string_view help) {
    add(name, help, parse_bool).alone = "true";  // --symmetric alone means true
  }
  void operator()(std::string_view name, int64_t&, std::string_view help) { add(name, help, parse_number<int64_t>); }
  void operator()(std::string_view name, std::optional<int64_t>&, std::string_view help) {
    add(name, help, parse_number<int64_t>);
  }
  void operator()(std::string_view name, double& value, std::string_view help) {
    add(name, help, parse_number<double>).defaults.emplace_back(method_, cat(value));
  }
  void operator()(std::string_view name, std::optional<std::string>&, std::string_view help) { add(name, help, text); }
  void operator()(std::string_view name, std::string& value, std::string_view help) {
    add(name, help, text).defaults.emplace_back(method_, value);
  }
  void operator()(std::string_view name, std::vector<std::string>&, std::string_view help) {
    add(name, help, text).is_list = true;
  }
  void operator()(std::string_view name, std::optional<std::vector<std::string>>&, std::string_view help) {
    FieldOption& option = add(name, help, text);
    option.is_list = option.has_commas = true;
  }
  void operator()(std::string_view name, std::optional<double>&, std::string_view help) {
    add(name, help, parse_number<double>);
  }
  template <class Number>
  void operator()(std::string_view name, modifiers::NumberOrJson<Number>&, std::string_view help) {
    add(name, help, parse_number<Number>);
  }
  void operator()(std::string_view, Json&, std::string_view) {}  // too large for a command line; in recipe files

 private:
  static Json text(const std::string& value) { return Json(value); }
  FieldOption& add(std::string_view name, std::string_view help, std::function<Json(const std::string&)> parse) {
    const auto [found, fresh] = options_.by_name.try_emplace(std::string(name));
    if (fresh) options_.order.emplace_back(name);
    FieldOption& option = found->second;
    if (fresh) option.help = help;
    option.methods += (option.methods.empty() ? "" : ", ") + method_;
    option.parse = std::move(parse);
    return option;
  }
  RecipeOptions& options_;
  std::string method_;
};

// " [2.4]", or by method where they differ: " [gptq: pnorm, rtn: absmax]".
std::string defaults_text(const FieldOption& field) {
  std::string by_method;
  bool same = true;
  for (const auto& [method, value] : field.defaults) {
    same = same && value == field.defaults[0].second;
    by_method += cat(by_method.empty() ? "" : ", ", method, ": ", value);
  }
  if (field.defaults.empty()) return "";
  return cat(" [", same ? field.defaults[0].second : by_method, "]");
}

// Options are explained by the methods that have them.
std::string group_of(const FieldOption& field) {
  return field.methods.starts_with(kAnyMethod) ? "What is done (--recipe has the same fields)"
                                               : cat("Only for --method ", field.methods);
}

// Fields that are there so that recipes of LLM Compressor are read: accepted, and not explained.
bool does_nothing(const std::string& help) {
  return help.starts_with("accepted for") || help.ends_with(": not supported");
}

// What the program takes where neither a recipe nor an option says otherwise.
struct ProgramDefault {
  std::string_view field;
  const char* value;
};
constexpr ProgramDefault kProgramDefaults[] = {{"scheme", "W4A16"}, {"ignore", "lm_head"}};

const char* program_default(std::string_view field) {
  for (const ProgramDefault& one : kProgramDefaults) {
    if (one.field == field) return one.value;
  }
  return nullptr;
}

Json list_of(const std::vector<std::string>& items) {
  Json list = Json::array();
  for (const std::string& item : items) list.push_back(item);
  return list;
}

Json value_of(const std::string& name, const FieldOption& field) {
  if (field.is_list) return list_of(field.given);
  const std::string& text = field.given.back();
  try {
    return field.parse(text.empty() && !field.alone.empty() ? field.alone : text);
  } catch (Error& e) {
    e.add_context(flag_of(name));
    throw;
  }
}

bool lists(const std::string& names, const std::string& name) {
  return cat(", ", names, ",").find(cat(", ", name, ",")) != std::string::npos;
}

// Where no recipe is given.
void add_program_defaults(const std::string& method, bool quantizes, Json& fields) {
  const bool has_budget = fields.find("target_bits") != nullptr || fields.find("target_size") != nullptr;
  if (quantizes && !has_budget && fields.find("scheme") == nullptr) fields.set("scheme", program_default("scheme"));
  if (fields.find("ignore") == nullptr && method != "reap")  // it names layers, not modules
    fields.set("ignore", list_of({program_default("ignore")}));
}

// A method that is one modifier takes that modifier's fields only; the shipped recipes have several.
void check_belongs(const FieldOption& field, const std::string& name, const std::string& method) {
  if (!lists(cat(kAnyMethod, ", reap"), method)) return;
  SWAGE_CHECK(lists(field.methods, method), InvalidArgument, flag_of(name), " belongs to --method ", field.methods,
              ", not to ", method);
}

}  // namespace

void RecipeOptions::add_to(CLI::App& command, RecipeChoice& choice) {
  FieldOptions of_choice(command);
  choice.visit(of_choice);
  modifiers::for_each_config([&](auto& config) {
    if (!config.kName.has_options) return;
    OptionMaker of_config(*this, std::string(config.kName.method));
    config.visit(of_config);
  });
  for (const std::string& name : order) {
    FieldOption& field = by_name[name];
    field.help += defaults_text(field);
    if (const char* value = program_default(name)) field.help += cat(" [", value, "]");
    auto* option = command.add_option(flag_of(name), field.given, field.help);
    option->group(does_nothing(field.help) ? "" : group_of(field))->allow_extra_args(false)->type_name("");
    if (!field.is_list) option->take_last();
    if (field.has_commas) option->delimiter(',');
    if (!field.alone.empty()) option->expected(0, 1);
  }
}

void RecipeOptions::take(RecipeChoice& choice) const {
  Json& fields = choice.method_fields = Json::object();
  if (!choice.method.ends_with("Modifier"))  // GPTQ is a name that people write in capitals
    std::transform(choice.method.begin(), choice.method.end(), choice.method.begin(),
                   [](unsigned char c) { return char(std::tolower(c)); });
  for (const std::string& name : order) {
    const FieldOption& field = by_name.at(name);
    if (field.given.empty()) continue;
    if (choice.recipe_file.empty()) check_belongs(field, name, choice.method);
    fields.set(name, value_of(name, field));
  }
  if (!choice.recipe_file.empty()) return;  // defaults would count before what it says
  add_program_defaults(choice.method, lists(by_name.at("scheme").methods, choice.method), fields);
}

}  // namespace swage::cli
