#include "apps/cli/recipe_options.h"

#include <algorithm>
#include <charconv>

#include "swage/base/error.h"
#include "swage/base/memory_budget.h"
#include "swage/swage.h"

namespace swage::cli {
namespace {

// Where neither a recipe nor an option says otherwise.
constexpr const char* kDefaultScheme = "W4A16";
constexpr const char* kDefaultIgnore = "lm_head";
constexpr std::string_view kAnyMethod = "gptq, rtn, sparsegpt, wanda, magnitude";  // and one that quantizes nothing

template <class T>
Json parse_number(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  SWAGE_CHECK(error == std::errc() && end == text.data() + text.size(), InvalidArgument, "\"", text, "\": expected a ",
              std::is_integral_v<T> ? "whole number" : "number");
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
  void operator()(std::string_view name, std::optional<bool>&, std::string_view help) { add(name, help, parse_bool); }
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
    add(name, help, text).is_list = true;
  }
  void operator()(std::string_view name, std::optional<double>&, std::string_view help) {
    add(name, help, parse_number<double>);
  }
  void operator()(std::string_view name, Json&,
                  std::string_view help) {  // too large for a command line, but for single numbers; in recipe files
    if (name == "sparsity" || name == "norm") add(name, help, parse_number<double>);
    if (name == "sweeps") add(name, help, parse_number<int64_t>);
  }

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

std::string flag_of(std::string field) {
  std::replace(field.begin(), field.end(), '_', '-');
  return "--" + field;
}

bool lists(const std::string& names, const std::string& name) {
  return cat(", ", names, ",").find(cat(", ", name, ",")) != std::string::npos;
}

// A method that is one modifier takes that modifier's fields only; the shipped recipes have several.
void check_belongs(const FieldOption& field, const std::string& name, const std::string& method) {
  if (!lists(cat(kAnyMethod, ", reap"), method)) return;
  SWAGE_CHECK(lists(field.methods, method), InvalidArgument, flag_of(name), " belongs to --method ", field.methods,
              ", not to ", method);
}

}  // namespace

void RecipeOptions::add_to(CLI::App& command) {
  command
      .add_option("--recipe", recipe_file,
                  "YAML or JSON recipe (LLM Compressor's are read as they are), or the name of a shipped one: w4a16, "
                  "w8a8-int8, fp8-dynamic, nvfp4 and others of recipes/; fields given beside it count before its own")
      ->type_name("FILE");
  command
      .add_option("--method", method,
                  "gptq, or rtn (round to nearest, needs no data); awq, smoothquant, spinquant, quip: the shipped "
                  "recipe that rescales or turns weights and then rounds them; or to prune: sparsegpt, wanda, "
                  "magnitude (needs no data); or to take whole experts out: reap")
      ->capture_default_str()
      ->type_name("");
  command
      .add_option("--rotate", rotate,
                  "R1,R2: rotations folded into the weights first, which spread outliers: R1 of the residual stream, "
                  "R2 of the values of each head. R3 (queries and keys) and R4 (input of down_proj) are computed by "
                  "the reader: vLLM, swage (recipes: SpinQuantModifier, QuIPModifier)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("");
  command
      .add_option("--prune-experts", prune_experts,
                  "share of the experts of each layer that go first, between 0 and 1: those that matter least on the "
                  "calibration text (REAP)")
      ->type_name("");
  modifiers::GptqConfig gptq;
  OptionMaker of_gptq(*this, "gptq");
  gptq.visit(of_gptq);
  modifiers::QuantizationConfig rtn;
  OptionMaker of_rtn(*this, "rtn");
  rtn.visit(of_rtn);
  modifiers::SparseGptConfig sparsegpt;
  OptionMaker of_sparsegpt(*this, "sparsegpt");
  sparsegpt.visit(of_sparsegpt);
  modifiers::WandaConfig wanda;
  OptionMaker of_wanda(*this, "wanda");
  wanda.visit(of_wanda);
  modifiers::MagnitudePruningConfig magnitude;
  OptionMaker of_magnitude(*this, "magnitude");
  magnitude.visit(of_magnitude);
  modifiers::ReapConfig reap;
  OptionMaker of_reap(*this, "reap");
  reap.visit(of_reap);
  modifiers::AwqConfig awq;
  OptionMaker of_awq(*this, "awq");
  awq.visit(of_awq);
  modifiers::SmoothQuantConfig smoothquant;
  OptionMaker of_smoothquant(*this, "smoothquant");
  smoothquant.visit(of_smoothquant);
  for (const std::string& name : order) {
    FieldOption& field = by_name[name];
    const std::string flag = flag_of(name);
    field.help += defaults_text(field);
    if (name == "scheme") field.help += cat(" [", kDefaultScheme, "]");
    if (name == "ignore") field.help += cat(" [", kDefaultIgnore, "]");
    auto* option = command.add_option(flag, field.given, field.help);
    option->group(does_nothing(field.help) ? "" : group_of(field))->allow_extra_args(false)->type_name("");
    if (!field.is_list) option->take_last();
    if (name == "candidates") option->delimiter(',');
    if (name == "symmetric") option->expected(0, 1);  // --symmetric alone means true
  }
}

Json RecipeOptions::fields() const {
  Json out = Json::object();
  for (const std::string& name : order) {
    const FieldOption& field = by_name.at(name);
    if (field.given.empty()) continue;
    if (recipe_file.empty()) check_belongs(field, name, method);
    if (!field.is_list) {
      try {
        out.set(name, field.parse(field.given.back().empty() && name == "symmetric" ? "true" : field.given.back()));
      } catch (Error& e) {
        e.add_context(flag_of(name));
        throw;
      }
      continue;
    }
    Json list = Json::array();
    for (const std::string& item : field.given) list.push_back(item);
    out.set(name, std::move(list));
  }
  if (!recipe_file.empty()) return out;  // they count before what it says
  const bool quantizes = method == "gptq" || method == "rtn";
  const bool has_budget = out.find("target_bits") != nullptr || out.find("target_size") != nullptr;
  if (quantizes && !has_budget && out.find("scheme") == nullptr) out.set("scheme", kDefaultScheme);
  if (out.find("ignore") == nullptr && method != "reap") {  // it names layers, not modules
    Json ignore = Json::array();
    ignore.push_back(kDefaultIgnore);
    out.set("ignore", std::move(ignore));
  }
  return out;
}

uint64_t parse_max_memory(const std::string& text) {
  try {
    return parse_memory_budget(text);
  } catch (Error& e) {
    e.add_context("--max-memory");
    throw;
  }
}

}  // namespace swage::cli
