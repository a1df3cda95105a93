#include <algorithm>
#include <charconv>
#include <map>

#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/progress_view.h"
#include "apps/cli/text.h"
#include "swage/base/memory_budget.h"

namespace swage::cli {
namespace {

// Where neither a recipe nor an option says otherwise.
constexpr const char* kDefaultScheme = "W4A16";
constexpr const char* kDefaultIgnore = "lm_head";
constexpr double kMostShardGib = 1 << 20;  // a PiB

// A field of some modifier as a command line option: --dampening-frac for dampening_frac.
struct FieldOption {
  std::string help;
  std::string methods;   // "gptq, rtn"
  std::vector<std::pair<std::string, std::string>> defaults;  // by method
  bool is_list = false;
  std::vector<std::string> given;
  std::function<Json(const std::string&)> parse;
};

struct Request {
  CompressOptions options;
  std::string device_note;
  std::vector<std::string> field_order;
  std::map<std::string, FieldOption> fields;
  bool no_pack = false, no_check = false, no_resume = false;
  double shard_gib = 5;
  std::string max_memory;
};

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
  OptionMaker(Request& request, std::string method) : request_(request), method_(std::move(method)) {}

  void operator()(std::string_view name, bool&, std::string_view help) { add(name, help, parse_bool); }
  void operator()(std::string_view name, std::optional<bool>&, std::string_view help) { add(name, help, parse_bool); }
  void operator()(std::string_view name, int64_t&, std::string_view help) { add(name, help, parse_number<int64_t>); }
  void operator()(std::string_view name, std::optional<int64_t>&, std::string_view help) { add(name, help, parse_number<int64_t>); }
  void operator()(std::string_view name, double& value, std::string_view help) { add(name, help, parse_number<double>).defaults.emplace_back(method_, cat(value)); }
  void operator()(std::string_view name, std::optional<std::string>&, std::string_view help) { add(name, help, text); }
  void operator()(std::string_view name, std::string& value, std::string_view help) { add(name, help, text).defaults.emplace_back(method_, value); }
  void operator()(std::string_view name, std::vector<std::string>&, std::string_view help) { add(name, help, text).is_list = true; }
  void operator()(std::string_view name, std::optional<double>&, std::string_view help) { add(name, help, parse_number<double>); }
  void operator()(std::string_view name, Json&, std::string_view help) {  // too large for a command line, but for one number; in recipe files
    if (name == "sparsity") add(name, help, parse_number<double>);
  }

 private:
  static Json text(const std::string& value) { return Json(value); }
  FieldOption& add(std::string_view name, std::string_view help, std::function<Json(const std::string&)> parse) {
    const auto [found, fresh] = request_.fields.try_emplace(std::string(name));
    if (fresh) request_.field_order.emplace_back(name);
    FieldOption& option = found->second;
    if (fresh) option.help = help;
    option.methods += (option.methods.empty() ? "" : ", ") + method_;
    option.parse = std::move(parse);
    return option;
  }
  Request& request_;
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

std::string flag_of(std::string field) {
  std::replace(field.begin(), field.end(), '_', '-');
  return "--" + field;
}

void add_field_options(CLI::App& command, Request& request) {
  modifiers::GptqConfig gptq;
  OptionMaker of_gptq(request, "gptq");
  gptq.visit(of_gptq);
  modifiers::QuantizationConfig rtn;
  OptionMaker of_rtn(request, "rtn");
  rtn.visit(of_rtn);
  modifiers::SparseGptConfig sparsegpt;
  OptionMaker of_sparsegpt(request, "sparsegpt");
  sparsegpt.visit(of_sparsegpt);
  modifiers::WandaConfig wanda;
  OptionMaker of_wanda(request, "wanda");
  wanda.visit(of_wanda);
  modifiers::MagnitudePruningConfig magnitude;
  OptionMaker of_magnitude(request, "magnitude");
  magnitude.visit(of_magnitude);
  for (const std::string& name : request.field_order) {
    FieldOption& field = request.fields[name];
    const std::string flag = flag_of(name);
    field.help += defaults_text(field);
    if (name == "scheme") field.help += cat(" [", kDefaultScheme, "]");
    if (name == "ignore") field.help += cat(" [", kDefaultIgnore, "]");
    auto* option = command.add_option(flag, field.given, cat(field.help, field.methods.find(',') == std::string::npos ? cat(" (", field.methods, ")") : ""));
    option->group("What is done (--recipe has the same fields)")->allow_extra_args(false)->type_name("");
    if (!field.is_list) option->take_last();
    if (name == "symmetric") option->expected(0, 1);  // --symmetric alone means true
  }
}

// What was given on the command line, as the fields of a modifier.
Json given_fields(Request& request) {
  Json out = Json::object();
  for (const std::string& name : request.field_order) {
    const FieldOption& field = request.fields[name];
    if (field.given.empty()) continue;
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
  const bool quantizes = request.options.method == "gptq" || request.options.method == "rtn";
  if (quantizes && out.find("scheme") == nullptr) out.set("scheme", kDefaultScheme);
  if (out.find("ignore") == nullptr) {
    Json ignore = Json::array();
    ignore.push_back(kDefaultIgnore);
    out.set("ignore", std::move(ignore));
  }
  return out;
}

void print_summary(const CompressOptions& options, const Json& report) {
  const Json& plan = report.at("plan");
  std::vector<std::pair<std::string, std::string>> rows;
  if (!options.dry_run) rows.emplace_back("output", options.output);
  rows.emplace_back("size", cat(bytes_text(plan.get_int("output_bytes", 0)), " (source ", bytes_text(plan.get_int("source_bytes", 0)), ")"));
  rows.emplace_back("quantized", cat(plan.get_int("quantized_modules", 0), " modules, ", number_text(plan.get_double("bits_per_weight", 0), 2), " bits per weight"));
  if (options.dry_run) {
    rows.emplace_back("memory", cat(bytes_text(plan.get_int("peak_bytes", 0)), " at most (estimate)"));
    if (plan.get_double("forward_flops", 0) > 0) rows.emplace_back("work", cat(number_text((plan.get_double("forward_flops", 0) + plan.get_double("gram_flops", 0)) / 1e12, 2), " TFLOP"));
    std::fputs(two_columns(rows).c_str(), stdout);
    return;
  }
  rows.emplace_back("time", seconds_text(report.get_double("seconds", 0)));
  rows.emplace_back("peak memory", bytes_text(report.get_int("peak_rss_bytes", 0)));
  if (const Json* check = report.find("check")) {
    rows.emplace_back("perplexity", cat(number_text(check->get_double("source_perplexity", 0), 3), " before, ", number_text(check->get_double("output_perplexity", 0), 3),
                                        " after (", check->get_int("tokens", 0), check->get_bool("held_out", false) ? " held-out tokens)" : " tokens it was calibrated on)"));
  }
  const size_t warnings = report.at("warnings").as_array().size();
  if (warnings > 0) rows.emplace_back("warnings", cat(warnings, ", see swage_report.json"));
  std::fputs(two_columns(rows).c_str(), stdout);
}

uint64_t parse_max_memory(const std::string& text) {
  try {
    return parse_memory_budget(text);
  } catch (Error& e) {
    e.add_context("--max-memory");
    throw;
  }
}

int run(Request& request, const Common& common) {
  CompressOptions& options = request.options;
  options.hub = hub_settings();
  options.pack = !request.no_pack;
  options.check = !request.no_check;
  options.resume = !request.no_resume;
  if (!request.max_memory.empty()) options.max_memory_bytes = parse_max_memory(request.max_memory);
  SWAGE_CHECK(request.shard_gib > 0.000001 && request.shard_gib <= kMostShardGib, InvalidArgument, "max-shard-size ", request.shard_gib,
              ": expected a positive number of GiB");
  options.shard_bytes = uint64_t(request.shard_gib * double(uint64_t{1} << 30));
  if (options.recipe_file.empty()) {
    options.method_fields = given_fields(request);
  } else {
    for (const auto& [name, field] : request.fields) {
      SWAGE_CHECK(field.given.empty(), InvalidArgument, "--recipe says what is done: put ", name, " into ", options.recipe_file);
    }
  }
  const Context context = make_context(common);
  const Json report = library().compress(options, context);
  end_progress();
  if (common.json) {
    std::puts(report.dump(2).c_str());
  } else {
    print_summary(options, report);
  }
  return 0;
}

}  // namespace

void add_compress(Program& program) {
  auto request = std::make_shared<Request>();
  CompressOptions& o = request->options;
  CLI::App* command = program.app.add_subcommand("compress", "quantize a model and write it as a new checkpoint");
  command->footer("Examples:\n  swage compress ./SmolLM2-135M -o ./SmolLM2-W4 -d calib.jsonl --scheme W4A16 --group-size 64\n"
                  "  swage compress meta-llama/Llama-3.2-1B -o out --method rtn --scheme FP8_DYNAMIC");
  command->add_option("model", o.model, "folder of a Hugging Face checkpoint, or a hub id")->required()->type_name("MODEL");
  command->add_option("-o,--output", o.output, "folder to make")->required()->type_name("OUT");
  command->add_option("--recipe", o.recipe_file, "YAML or JSON recipe; LLM Compressor's are read as they are")->type_name("FILE");
  command->add_option("--method", o.method, "gptq, or rtn (round to nearest, needs no data); or to prune: sparsegpt, wanda, magnitude (needs no data)")->capture_default_str()->type_name("");
  command->add_flag("--model-free", o.model_free, "work from the shards alone, for any architecture (methods without data only)");
  add_field_options(*command, *request);
  const std::string calibration = "Calibration";
  command->add_option("-d,--data", o.data.file, "calibration text: .jsonl, .json, .txt or .parquet")->type_name("FILE")->group(calibration);
  command->add_option("--text-column", o.data.text_column, "column with the text [text, else messages]")->type_name("NAME")->group(calibration);
  command->add_option("--num-calibration-samples", o.num_calibration_samples, "rows of tokens to calibrate on, at most")->capture_default_str()->type_name("")->check(at_least(1))->group(calibration);
  command->add_option("--max-seq-length", o.max_seq_length, "tokens in a row")->capture_default_str()->type_name("")->check(at_least(1))->group(calibration);
  command->add_flag("--no-pack", request->no_pack, "one document a row, cut to the length, shorter ones skipped")->group(calibration);
  command->add_flag("--shuffle", o.shuffle, "take the documents in an order drawn from --seed")->group(calibration);
  command->add_flag("--moe-routed", o.moe_routed, "calibrate experts on the tokens routed to them, not on all")->group(calibration);
  command->add_option("--max-memory", request->max_memory, "refuse to start if the plan takes more of the host's memory; says what would do")->type_name("cpu=SIZE")->group(calibration);
  command->add_option("--offload-folder", o.offload_folder, "keep activations in a file in this folder instead of memory; nothing stays there")->type_name("DIR")->group(calibration);
  const std::string output = "Output";
  command->add_option("--max-shard-size", request->shard_gib, "most GiB of weights in one file")->capture_default_str()->type_name("GiB")->group(output);
  command->add_flag("--overwrite", o.overwrite, "replace the output folder if it exists, once the new one is complete")->group(output);
  command->add_flag("--restart", o.restart, "throw away what an interrupted run with this output kept, and start anew")->group(output);
  command->add_flag("--no-resume", request->no_resume, "keep nothing when interrupted (without it, the same command goes on after the last finished layer)")->group(output);
  command->add_flag("--dry-run", o.dry_run, "print the plan (memory, size, work) and stop; nothing is written")->group(output);
  command->add_flag("--no-check", request->no_check, "skip comparing the perplexity of source and output after writing")->group(output);
  add_compute(*command, program.common);
  add_json(*command, program.common);
  command->callback([&program, request] { program.chosen = [&program, request] { return run(*request, program.common); }; });
}

}  // namespace swage::cli
