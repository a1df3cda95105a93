#include <algorithm>

#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/text.h"

namespace swage::cli {
namespace {

struct SchemesRequest {
  std::string model;
};

std::string loss_text(const Json& preset) {
  const Json* loss = preset.find("loss");
  if (loss == nullptr) return "-";
  const double change = loss->get_double("perplexity", 0) / loss->get_double("source_perplexity", 1) - 1;
  return cat("+", number_text(100 * change, 1), " %");
}

std::string reader_text(const Json& preset, const char* reader) {
  const Json* consumers = preset.find("consumers");
  return consumers == nullptr ? "not run" : consumers->get_string(reader, "not run");
}

// "CPU, GPU 7.5+"
std::string where_text(const Json& preset) {
  const Json* consumers = preset.find("consumers");
  if (consumers == nullptr) return "-";
  const std::string gpu = consumers->get_string("gpu", "");
  return cat(consumers->get_bool("cpu", false) ? "CPU, " : "", gpu.empty() ? "-" : cat("GPU ", gpu, "+"));
}

std::string size_text(const Json& preset) {
  if (preset.find("output_bytes") == nullptr) return "- ";
  return bytes_text(preset.get_int("output_bytes", 0)) + (preset.find("output_group_size") == nullptr ? " " : "*");
}

// What stands below the table.
std::string legend(const Json& schemes) {
  int64_t group = 0;
  for (const Json& preset : schemes.at("presets").as_array())
    group = std::max(group, preset.get_int("output_group_size", 0));
  return cat(group > 0 ? cat("*: in groups of ", group, ", since those of the preset do not divide the columns. ") : "",
             "bits: of a weight of a quantized layer, scales included. loss: by how much the perplexity of "
             "SmolLM2-135M-Instruct grew (docs/quality.md); larger models lose less. equal: the reader gives swage's "
             "perplexity; loaded: it runs; not run: nobody has tried it; as of ",
             schemes.get_string("date", ""), " (docs/consumers.md).");
}

void print(const Json& schemes, bool sized) {
  size_t width = 0;
  for (const Json& preset : schemes.at("presets").as_array())
    width = std::max(width, preset.get_string("scheme", "").size());
  const auto line = [&](const std::string& name, const std::string& bits, const std::string& size,
                        const std::string& loss, const std::string& transformers, const std::string& vllm,
                        const std::string& where) {
    std::printf("%-*s %5s ", int(width), name.c_str(), bits.c_str());
    if (sized) std::printf("%11s ", size.c_str());
    std::printf("%8s  %-12s %-7s  %s\n", loss.c_str(), transformers.c_str(), vllm.c_str(), where.c_str());
  };
  line("scheme", "bits", "size ", "loss", "transformers", "vLLM", "vLLM runs on");
  for (const Json& preset : schemes.at("presets").as_array()) {
    line(preset.get_string("scheme", ""), number_text(preset.get_double("bits", 0), 2), size_text(preset),
         loss_text(preset), reader_text(preset, "transformers"), reader_text(preset, "vllm"), where_text(preset));
  }
  std::printf("\n");
  for (const std::string& text : wrapped(legend(schemes), size_t(std::clamp(help_columns(), 50, 110))))
    std::puts(text.c_str());
}

int run_schemes(const SchemesRequest& request, const Common& common) {
  Json result = schemes();
  if (!request.model.empty()) {
    Context context = make_context(common);
    context.log = [](Severity, const std::string&) {};
    const Json sizes = library().scheme_sizes(request.model, hub_settings(), context);
    Json presets = Json::array();
    for (Json preset : result.at("presets").as_array()) {
      if (const Json* size = sizes.find(preset.get_string("scheme", ""))) {
        for (const auto& [name, value] : size->as_object()) preset.set(name, value);
      }
      presets.push_back(std::move(preset));
    }
    result.set("model", request.model);
    result.set("presets", std::move(presets));
  }
  if (common.json)
    print_json("schemes", result);
  else
    print(result, !request.model.empty());
  return 0;
}

}  // namespace

void add_schemes(Program& program) {
  auto request = std::make_shared<SchemesRequest>();
  CLI::App* command =
      program.app.add_subcommand("schemes", "the presets: bits, size of a model, what they lose, who reads them");
  command->footer(
      "Sizes are those of the files if every linear layer but lm_head is quantized, in the preset's groups or, where "
      "these do not divide its columns, in groups "
      "of 64 or 32.\n\nExamples:\n  swage schemes\n  swage schemes ./Llama-3-8B\n  swage compress ./Llama-3-8B -o out "
      "-d text.jsonl --for vllm:hopper");
  command->add_option("model", request->model, "folder of a checkpoint, its config.json alone, or a hub id")
      ->type_name("MODEL");
  add_json(*command, program.common);
  program.on(command, request, run_schemes);
}

}  // namespace swage::cli
