#include <algorithm>
#include <filesystem>

#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/field_options.h"
#include "apps/cli/library.h"
#include "apps/cli/recipe_options.h"
#include "apps/cli/text.h"

namespace swage::cli {
namespace {

struct EstimateRequest {
  EstimateOptions options;
  RecipeOptions recipe;
};

std::string rate_text(double a_second, const char* unit) {
  return a_second >= 1e12 ? cat(number_text(a_second / 1e12, 1), " T", unit)
                          : cat(number_text(a_second / 1e9, a_second < 1e10 ? 2 : 0), " G", unit);
}

// "-" for nothing.
std::string amount(const Json& stage, const char* key) {
  const int64_t bytes = stage.get_int(key, 0);
  return bytes == 0 ? "-" : bytes_text(bytes);
}

std::string tera(const Json& stage) {
  const double flops =
      stage.get_double("forward_flops", 0) + stage.get_double("gram_flops", 0) + stage.get_double("solve_flops", 0);
  return flops < 1e9 ? "-" : number_text(flops / 1e12, flops < 1e12 ? 3 : 1);
}

void print_stages(const Json& plan, bool on_device) {
  std::printf("\n  %-10s %11s%s %11s %11s %9s %12s\n", "stage", "host", on_device ? "      device" : "", "read",
              "written", "TFLOP", "time, about");
  for (const Json& stage : plan.at("stages").as_array()) {
    const double seconds = stage.get_double("seconds", 0);
    std::printf("  %-10s %11s", stage.at("name").as_string().c_str(), amount(stage, "host_bytes").c_str());
    if (on_device) std::printf(" %11s", amount(stage, "device_bytes").c_str());
    std::printf(" %11s %11s %9s %12s\n", amount(stage, "read_bytes").c_str(), amount(stage, "written_bytes").c_str(),
                tera(stage).c_str(), seconds > 0 ? seconds_text(seconds).c_str() : "-");
  }
}

const Json& largest_stage(const Json& plan) {
  const std::vector<Json>& stages = plan.at("stages").as_array();
  return *std::max_element(stages.begin(), stages.end(), [](const Json& a, const Json& b) {
    return a.get_int("host_bytes", 0) < b.get_int("host_bytes", 0);
  });
}

void print_memory(const Json& plan, bool on_device) {
  const Json& stage = largest_stage(plan);
  const std::string at = stage.get_string("at", "");
  std::vector<std::pair<std::string, std::string>> rows;
  for (const Json& part : stage.at("parts").as_array()) {
    rows.emplace_back(part.at("name").as_string(),
                      amount(part, "host_bytes") + (on_device ? cat("   device ", amount(part, "device_bytes")) : ""));
  }
  rows.emplace_back("peak, host", bytes_text(plan.get_int("peak_bytes", 0)));
  if (on_device) rows.emplace_back("peak, device", bytes_text(plan.get_int("device_peak_bytes", 0)));
  std::printf("\nmemory at its largest: %s%s\n%s", stage.at("name").as_string().c_str(),
              at.empty() ? "" : cat(", ", at).c_str(), two_columns(rows).c_str());
}

void print_totals(const Json& plan, const Json& rates) {
  std::vector<std::pair<std::string, std::string>> rows;
  rows.emplace_back("disk", cat(bytes_text(plan.get_int("output_bytes", 0)), " for the output; ",
                                bytes_text(plan.get_int("read_bytes", 0)), " read, ",
                                bytes_text(plan.get_int("written_bytes", 0)), " written"));
  rows.emplace_back("quantized", cat(plan.get_int("quantized_modules", 0), " modules, ",
                                     count_text(plan.get_int("quantized_parameters", 0)), " weights at ",
                                     number_text(plan.get_double("bits_per_weight", 0), 2), " bits"));
  if (const double seconds = plan.get_double("seconds", 0); seconds > 0) {
    const double measuring = rates.get_double("measured_seconds", 0);
    rows.emplace_back(
        "time",
        cat("about ", seconds_text(seconds), ": f32 products ", rate_text(rates.get_double("gemm_flops", 0), "FLOP/s"),
            ", copying ", rate_text(rates.get_double("copy_bytes", 0), "B/s"), ", reading ",
            rate_text(rates.get_double("disk_bytes", 0), "B/s"),
            rates.get_bool("disk_is_assumed", false) ? " (assumed)" : "",
            measuring > 0 ? cat("; measured in ", number_text(measuring, 1), " s") : std::string("; as given")));
  }
  std::printf("\n%s", two_columns(rows).c_str());
}

void print(const Json& report) {
  const Json& plan = report.at("plan");
  const bool on_device = report.get_string("device", "cpu") != "cpu";
  const int64_t rows = plan.get_int("calibration_rows", 0), layers = report.get_int("layers", 0);
  std::printf(
      "%s, %s parameters%s (%s)\n%s, %s\n", report.at("model_type").as_string().c_str(),
      count_text(report.get_int("parameters", 0)).c_str(),
      layers > 0 ? cat(", ", layers, " layers of up to ", count_text(report.get_int("layer_parameters", 0))).c_str()
                 : "",
      report.at("from").as_string().c_str(), report.at("modifier").as_string().c_str(),
      rows > 0 ? cat(rows, " rows of ", plan.get_int("tokens_per_row", 0), " tokens").c_str() : "no calibration");
  for (const Json& warning : report.at("warnings").as_array()) std::printf("note: %s\n", warning.as_string().c_str());
  if (const Json* placement = report.find("placement")) std::printf("%s\n", placement->as_string().c_str());
  print_stages(plan, on_device);
  print_memory(plan, on_device);
  print_totals(plan, report.at("rates"));
}

int run_estimate(EstimateRequest& request, const Common& common) {
  EstimateOptions& options = request.options;
  options.hub = hub_settings();
  request.recipe.take(options);
  const Json report = library().estimate(options, make_context(common));
  if (common.json) {
    print_json("estimate", report);
  } else {
    print(report);
  }
  return 0;
}

}  // namespace

void add_estimate(Program& program) {
  auto request = std::make_shared<EstimateRequest>();
  EstimateOptions& o = request->options;
  CLI::App* command = program.app.add_subcommand("estimate", "what compressing a model would take: memory, disk, time");
  command->footer(
      "Reads config.json and the headers of the weight files, if there are any: seconds, whatever the size. No text is "
      "read: give the\n"
      "number and the length of the rows. The time is a guess from a short measurement of this machine, or from "
      "--rates of another one.\n\n"
      "Examples:\n  swage estimate ./Llama-3-8B --scheme W4A16 --num-calibration-samples 256 --max-seq-length 512\n"
      "  swage estimate ./config.json --method rtn --scheme FP8_DYNAMIC              nothing but a config is needed\n"
      "  swage estimate ./Unknown-1B --method rtn --scheme W4A16 --model-free        an architecture that swage does "
      "not know\n"
      "  swage estimate ./Llama-3-8B --quality best --max-memory cpu=24GiB           refused, with what would do, if "
      "it does not fit\n"
      "  swage estimate ./Llama-3-8B --device cuda --rates gemm=60T,copy=1T,disk=2G  on a machine that is not this "
      "one");
  command->add_option("model", o.model, "folder of a Hugging Face checkpoint, its config.json alone, or a hub id")
      ->required()
      ->type_name("MODEL");
  request->recipe.add_to(*command, o);
  FieldOptions add(*command), add_calibration(*command, "Calibration");
  o.visit_rows(add_calibration);
  o.visit_routing(add_calibration);
  o.visit_check(add_calibration);
  o.visit_way(add);
  o.visit_memory(add);
  command
      ->add_option("--rates", o.rates,
                   "rates of another machine, a second: gemm= FLOP of f32 products, copy= bytes in memory, disk= bytes "
                   "of files; with K, M, G or T. What is left out is measured here")
      ->type_name("gemm=60T,...");
  add_compute(*command, program.common);
  add_json(*command, program.common);
  program.on(command, request, run_estimate);
}

}  // namespace swage::cli
