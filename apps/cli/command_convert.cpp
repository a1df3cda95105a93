#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/field_options.h"
#include "apps/cli/library.h"
#include "apps/cli/numbers.h"
#include "apps/cli/text.h"

namespace swage::cli {
namespace {

int run_convert(ConvertOptions& options, const Common& common) {
  options.hub = hub_settings();
  const Context context = make_context(common);
  try {
    const Json report = library().convert(options, context);
    common.console->end_line();
    if (common.json) {
      print_json("convert", report);
      return 0;
    }
    std::fputs(two_columns({{"output", options.output},
                            {"format", cat(report.get_string("from", ""), " -> ", report.get_string("to", ""))},
                            {"converted", cat(report.get_int("modules", 0), " modules, read back and compared")},
                            {"size", cat(bytes_text(report.get_int("output_bytes", 0)), " (source ",
                                         bytes_text(report.get_int("source_bytes", 0)), ")")},
                            {"time", seconds_text(report.get_double("seconds", 0))},
                            {"peak memory", bytes_text(report.get_int("peak_rss_bytes", 0))}})
                   .c_str(),
               stdout);
  } catch (Error& e) {
    if (e.kind() == ErrorKind::Cancelled)
      e.add_context(cat("nothing was kept: ", options.output, " was not made and partial files were removed"));
    throw;
  }
  return 0;
}

}  // namespace

void add_convert(Program& program) {
  auto o = std::make_shared<ConvertOptions>();
  CLI::App* command =
      program.app.add_subcommand("convert", "write a quantized checkpoint in another format, its weights unchanged");
  command->footer(
      "Codes, scales and zero points are taken over as they are, never quantized anew; where a format cannot hold "
      "them, nothing\n"
      "is written and the error says why. Everything is read back and compared before OUT appears.\n\n"
      "Formats:\n"
      "  pack-quantized  compressed-tensors: integers of 1 to 8 bits, any groups, with or without zero points\n"
      "  gptq            AutoGPTQ's: 2, 3, 4, 8 bits, desc_act; no zero point may be 0 (symmetric weights have none)\n"
      "  gptq_v2         the same for any zero point; fewer programs read it\n"
      "  awq             AutoAWQ's gemm: 4 bits, one group size for all, no desc_act\n"
      "  dense           plain weights, dequantized: anything that swage reads, GGUF files too\n\n"
      "Examples:\n  swage convert ./SmolLM2-W4 ./SmolLM2-GPTQ --to gptq\n"
      "  swage convert TheBloke/some-model-AWQ out --to pack-quantized\n"
      "  swage convert ./SmolLM2-W4 ./SmolLM2-plain --to dense --dtype bf16\n"
      "  swage convert model-Q4_K_M.gguf ./model --to dense --dtype bf16");
  command->add_option("model", o->model, "folder of a quantized checkpoint, a .gguf file, or a hub id")
      ->required()
      ->type_name("MODEL");
  command->add_option("output", o->output, "folder to make")->required()->type_name("OUT");
  FieldOptions add(*command);
  o->ConvertChoice::visit(add);
  command->get_option("--to")->required();
  command->add_option("--threads", program.common.threads, "threads to use; 0: all")
      ->capture_default_str()
      ->type_name("")
      ->check(whole_number<int>(0));
  add_json(*command, program.common);
  program.on(command, o, run_convert);
}

}  // namespace swage::cli
