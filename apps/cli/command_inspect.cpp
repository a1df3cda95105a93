#include <algorithm>
#include <filesystem>

#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/progress_view.h"
#include "apps/cli/text.h"
#include "swage/base/printable.h"

namespace swage::cli {
namespace {

struct Request {
  std::string model;
  bool program = false;
};

std::string shape_of(const Json& module) {
  std::string out;
  for (const Json& size : module.at("shape").as_array()) out += (out.empty() ? "" : " x ") + std::to_string(size.as_int());
  return out;
}

void print_modules(const Json& modules) {
  size_t width = 6;
  for (const Json& module : modules.as_array()) width = std::max(width, module.at("name").as_string().size());
  std::printf("%-*s  %-16s  %-12s  %10s  %6s  %7s\n", int(width), "module", "shape", "scheme", "size", "bits", "error");
  for (const Json& module : modules.as_array()) {
    const Json* error = module.find("relative_error");
    std::printf("%-*s  %-16s  %-12s  %10s  %6s  %7s\n", int(width), printable(module.at("name").as_string()).c_str(), shape_of(module).c_str(),
                module.at("scheme").as_string().c_str(), bytes_text(module.at("bytes").as_int()).c_str(),
                number_text(module.get_double("bits_per_weight", 0), 2).c_str(),
                error == nullptr ? "" : (number_text(100 * error->as_double(), 1) + " %").c_str());
  }
}

// "v (random-hadamard) on input of Linear, R3 (hadamard) on q_attn of re:.*self_attn$"
std::string transforms_text(const Json& transforms) {
  std::string out;
  for (const Json& one : transforms.as_array()) {
    out += cat(out.empty() ? "" : ", ", one.get_string("group", ""), " (", one.get_string("type", ""), ") on ", one.get_string("location", ""), " of ");
    std::string targets;
    for (const Json& target : one.at("targets").as_array()) targets += (targets.empty() ? "" : " ") + target.as_string();
    out += targets;
  }
  return out;
}

int run(const Request& request, const Common& common) {
  const bool local = std::filesystem::exists(request.model);
  const ModelHeaders headers = local ? ModelHeaders{request.model, nullptr} : library().model_headers(request.model, hub_settings(), make_context(common));
  end_progress();
  if (request.program) {
    const Json program = library().program_of(headers.folder);
    std::fputs((common.json ? program.dump(2) + "\n" : program.get_string("text", "")).c_str(), stdout);
    return 0;
  }
  Json result = inspect(headers.folder);
  result.set("model", request.model);
  if (common.json) {
    std::puts(result.dump(2).c_str());
    return 0;
  }
  print_modules(result.at("modules"));
  const Json& totals = result.at("totals");
  std::vector<std::pair<std::string, std::string>> rows = {
      {"model type", result.get_string("model_type", "")},
      {"parameters", count_text(totals.get_int("parameters", 0))},
      {"size", cat(bytes_text(totals.get_int("bytes", 0)), " in ", result.get_int("files", 0), result.get_int("files", 0) == 1 ? " file, " : " files, ", number_text(totals.get_double("bits_per_weight", 0), 2), " bits per weight")}};
  if (totals.find("quantized_parameters") != nullptr) {
    rows.emplace_back("quantized", cat(count_text(totals.get_int("quantized_parameters", 0)), " parameters at ",
                                       number_text(totals.get_double("quantized_bits_per_weight", 0), 2), " bits (", result.get_string("format", ""), ")"));
  }
  if (const Json* transforms = result.find("transforms")) rows.emplace_back("computed", transforms_text(*transforms));
  std::fputs(("\n" + two_columns(rows)).c_str(), stdout);
  return 0;
}

}  // namespace

void add_inspect(Program& program) {
  auto request = std::make_shared<Request>();
  CLI::App* command = program.app.add_subcommand("inspect", "modules of a checkpoint: shapes, schemes, sizes, errors");
  command->footer("Reads headers only, whatever the size: of a hub id, these alone are fetched. The errors come from the swage_report.json that compress leaves.\n\n"
                  "Example:\n  swage inspect ./SmolLM2-W4");
  command->add_option("model", request->model, "folder of a checkpoint, or a hub id")->required()->type_name("MODEL");
  command->add_flag("--program", request->program, "print what the model's blocks compute instead; a config.json is enough");
  add_json(*command, program.common);
  command->callback([&program, request] { program.chosen = [&program, request] { return run(*request, program.common); }; });
}

}  // namespace swage::cli
