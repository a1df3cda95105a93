#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/field_options.h"
#include "apps/cli/library.h"
#include "apps/cli/recipe_options.h"
#include "apps/cli/text.h"

namespace swage::cli {
namespace {

struct CompressRequest {
  CompressOptions options;
  const CLI::App* command = nullptr;
  RecipeOptions recipe;
  std::string reader;
};

// "W3A16 g64 in 30 modules, W4A16 g64 in 150"
std::string schemes_text(const Json& budget) {
  std::string out;
  for (const Json& candidate : budget.at("candidates").as_array()) {
    int64_t modules = 0;
    for (const Json& unit : budget.at("units").as_array()) {
      if (unit.at("scheme") == candidate) modules += int64_t(unit.at("modules").as_array().size());
    }
    if (modules == 0) continue;
    out += cat(out.empty() ? "" : ", ", candidate.as_string(), " in ", modules, out.empty() ? " modules" : "");
  }
  return out;
}

// "512 rows of 2048 tokens from 120 documents of calibration.jsonl (1024 rows asked for)"
std::string calibration_text(const Json& report) {
  const Json* calibration = report.find("calibration");
  if (calibration == nullptr || calibration->find("rows") == nullptr) return "";
  const int64_t rows = calibration->get_int("rows", 0), wanted = calibration->get_int("rows_wanted", rows);
  const Json* data = calibration->find("data");
  return cat("on ", rows, " rows of ", calibration->get_int("tokens_per_row", 0), " tokens, ",
             calibration->get_int("documents_used", 0), " documents",
             data == nullptr ? "" : cat(" of ", data->get_string("name", "")),
             wanted > rows ? cat(" (", wanted, " rows asked for)") : "");
}

using Rows = std::vector<std::pair<std::string, std::string>>;

// What the plan says: known before the run and after it.
void add_plan(const Json& plan, Rows& rows) {
  rows.emplace_back("size", cat(bytes_text(plan.get_int("output_bytes", 0)), " (source ",
                                bytes_text(plan.get_int("source_bytes", 0)), ")"));
  const int64_t quantized = plan.get_int("quantized_modules", 0), pruned = plan.get_int("pruned_modules", 0);
  if (quantized > 0 || pruned == 0)
    rows.emplace_back("quantized", cat(quantized, " modules, ", number_text(plan.get_double("bits_per_weight", 0), 2),
                                       " bits per weight"));
  if (pruned > 0) rows.emplace_back("pruned", cat(pruned, " modules"));
}

// What a run that was only planned would take.
void add_needs(const Json& plan, Rows& rows) {
  rows.emplace_back("memory", cat(bytes_text(plan.get_int("peak_bytes", 0)), " at most (estimate)"));
  const double forward = plan.get_double("forward_flops", 0);
  const double flops = forward + plan.get_double("gram_flops", 0) + plan.get_double("solve_flops", 0);
  if (forward > 0) rows.emplace_back("work", cat(number_text(flops / 1e12, 2), " TFLOP"));
}

// What was chosen while the run was on its way.
void add_choices(const Json& report, Rows& rows) {
  if (const Json* budget = report.find("bit_budget")) rows.emplace_back("schemes", schemes_text(*budget));
  if (const Json* pruning = report.find("expert_pruning"))
    rows.emplace_back("experts", cat(pruning->get_int("stay", 0), " of ", pruning->get_int("experts", 0),
                                     " in each of ", pruning->at("layers").as_array().size(), " layers"));
  if (const std::string text = calibration_text(report); !text.empty()) rows.emplace_back("calibrated", text);
}

// What the run took; each stage of it with --verbose.
void add_costs(const Json& report, bool verbose, Rows& rows) {
  rows.emplace_back("time", seconds_text(report.get_double("seconds", 0)));
  if (const Json* stages = report.find("stage_seconds"); stages != nullptr && verbose) {
    for (const auto& [stage, seconds] : stages->as_object())
      rows.emplace_back(cat("  ", stage), seconds_text(seconds.as_double()));
  }
  rows.emplace_back("peak memory", bytes_text(report.get_int("peak_rss_bytes", 0)));
}

// How good the output is, and what to look at.
void add_findings(const Json& report, Rows& rows) {
  if (const Json* check = report.find("check")) {
    rows.emplace_back(
        "perplexity",
        cat(number_text(check->get_double("source_perplexity", 0), 3), " before, ",
            number_text(check->get_double("output_perplexity", 0), 3), " after (", check->get_int("tokens", 0),
            check->get_bool("held_out", false) ? " held-out tokens)" : " tokens it was calibrated on)"));
  }
  const size_t warnings = report.at("warnings").as_array().size();
  if (warnings > 0) rows.emplace_back("warnings", cat(warnings, ", see swage_report.json"));
}

void print_summary(const CompressOptions& options, const Json& report, bool verbose) {
  const Json& plan = report.at("plan");
  Rows rows;
  if (!options.dry_run) rows.emplace_back("output", options.output);
  add_plan(plan, rows);
  if (options.dry_run) {
    add_needs(plan, rows);
  } else {
    add_choices(report, rows);
    add_costs(report, verbose, rows);
    add_findings(report, rows);
  }
  std::fputs(two_columns(rows).c_str(), stdout);
}

// "seed", "max-seq-length": the options on the command line, by their long names.
std::vector<std::string> given_options(const CLI::App& command) {
  std::vector<std::string> out;
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() > 0 && !option->get_lnames().empty()) out.push_back(option->get_lnames()[0]);
  }
  return out;
}

// --for: the scheme for who will read the output.
void choose_scheme(CompressRequest& request) {
  Json& fields = request.options.method_fields;
  SWAGE_CHECK(request.options.recipe_file.empty(), InvalidArgument,
              "--for chooses a scheme, and so does --recipe; give one of them");
  SWAGE_CHECK(fields.find("target_bits") == nullptr && fields.find("target_size") == nullptr, InvalidArgument,
              "--for chooses one scheme; a bit budget chooses several");
  const bool given = !request.recipe.by_name.at("scheme").given.empty();
  try {
    fields.set("scheme", scheme_for(request.reader, given ? fields.get_string("scheme", "") : "",
                                    fields.get_string("actorder", "")));
  } catch (Error& e) {
    e.add_context("--for");
    throw;
  }
}

int run_compress(CompressRequest& request, const Common& common) {
  CompressOptions& options = request.options;
  options.hub = hub_settings();
  options.given = given_options(*request.command);
  request.recipe.take(options);
  if (!request.reader.empty()) choose_scheme(request);
  if (options.max_memory.bytes > 0) give_freed_memory_back();
  const Context context = make_context(common);
  const Json report = library().compress(options, context);
  common.console->end_line();
  if (common.json) {
    print_json("compress", report);
  } else {
    print_summary(options, report, common.verbose);
  }
  return 0;
}

}  // namespace

void add_compress(Program& program) {
  auto request = std::make_shared<CompressRequest>();
  CompressOptions& o = request->options;
  CLI::App* command = program.app.add_subcommand("compress", "quantize a model and write it as a new checkpoint");
  command->footer(
      "Examples:\n  swage compress ./SmolLM2-135M -o ./SmolLM2-W4 -d calib.jsonl --scheme W4A16 --group-size 64\n"
      "  swage compress ./SmolLM2-135M -o ./SmolLM2-mixed -d calib.jsonl --target-bits 4.5 --group-size 64\n"
      "  swage compress meta-llama/Llama-3.2-1B -o out --method rtn --scheme FP8_DYNAMIC");
  command->add_option("model", o.model, "folder of a Hugging Face checkpoint, or a hub id")
      ->required()
      ->type_name("MODEL");
  command->add_option("-o,--output", o.output, "folder to make")->required()->type_name("OUT");
  request->command = command;
  request->recipe.add_to(*command, o);
  command
      ->add_option("--for", request->reader,
                   "who will read the output: chooses the scheme, or checks the one that is given (vllm, vllm:cpu, "
                   "vllm:turing, ampere, ada, hopper, blackwell, transformers, sglang)")
      ->type_name("READER");
  FieldOptions add(*command), add_calibration(*command, "Calibration"), add_output(*command, "Output");
  o.visit_way(add);
  o.visit_calibration(add_calibration);
  o.visit_memory(add_calibration);
  o.visit_output(add_output);
  add_compute(*command, program.common);
  add_json(*command, program.common);
  program.on(command, request, run_compress);
}

}  // namespace swage::cli
