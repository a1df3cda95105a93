#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/text.h"

namespace swage::cli {
namespace {

int run_generate(GenerateOptions& options, const Common& common) {
  options.hub = hub_settings();
  const Context context = make_context(common);
  const auto emit = [&](const std::string& piece) {
    if (common.json) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  const Json result = library().generate(options, context, emit);
  if (common.json) {
    print_json("generate", result);
  } else {
    std::puts("");
    std::fflush(stdout);  // before what follows on the other stream
    std::fprintf(stderr, "%lld tokens, %s tokens/s\n", static_cast<long long>(result.get_int("tokens", 0)),
                 number_text(result.get_double("tokens_per_second", 0), 1).c_str());
  }
  return 0;
}

}  // namespace

void add_generate(Program& program) {
  auto o = std::make_shared<GenerateOptions>();
  auto raw = std::make_shared<bool>(false);
  CLI::App* command = program.app.add_subcommand("generate", "continue a prompt with a dense or compressed model");
  command->footer("Example:\n  swage generate ./SmolLM2-W4 -p \"Name three prime numbers.\" --max-new-tokens 40");
  command->add_option("model", o->model, "folder of a checkpoint, or a hub id")->required()->type_name("MODEL");
  command->add_option("-p,--prompt", o->prompt, "what to say")->required()->type_name("TEXT");
  command->add_option("--system", o->system, "system message")->type_name("TEXT");
  command->add_flag("--raw", *raw, "do not apply the model's chat template");
  command->add_option("--max-new-tokens", o->max_new_tokens, "stop after so many")
      ->capture_default_str()
      ->type_name("");
  command->add_option("--temperature", o->temperature, "0: always the most likely token")
      ->capture_default_str()
      ->type_name("");
  command->add_option("--top-p", o->top_p, "sample from the smallest set of tokens with this probability")
      ->capture_default_str()
      ->type_name("");
  add_compute(*command, program.common);
  add_json(*command, program.common);
  program.on(command, o, [raw](GenerateOptions& options, const Common& common) {
    options.chat = !*raw;
    return run_generate(options, common);
  });
}

}  // namespace swage::cli
