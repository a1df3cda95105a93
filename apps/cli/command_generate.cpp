#include <iostream>
#include <iterator>

#include "apps/cli/commands.h"
#include "apps/cli/engine_options.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/text.h"
#include "swage/base/file.h"

namespace swage::cli {
namespace {

struct Asked {
  GenerateOptions generate;
  std::vector<std::string> prompts;  // given one by one
  std::string prompt_file, prompts_file;
  bool raw = false;
};

// The whole of a file, or of stdin if it is called "-".
std::string text_of(const std::string& path) {
  if (path != "-") return read_regular_file(path, kMaxConfigBytes);
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

// {"prompt": "..."} or "..." a line.
std::vector<std::string> prompts_in(const std::string& path) {
  const std::string text = text_of(path);
  std::vector<std::string> out;
  int line = 1;
  for (size_t at = 0; at < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view one(text.data() + at, end - at);
    at = end + 1;
    if (one.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const Json entry = parse_json(one, cat(path, ", line ", line));
    const Json* prompt = entry.is_string() ? &entry : entry.find("prompt");
    SWAGE_CHECK(prompt != nullptr && prompt->is_string(), InvalidArgument, path, ", line ", line,
                ": expected a string, or an object with a \"prompt\"");
    out.push_back(prompt->as_string());
  }
  SWAGE_CHECK(!out.empty(), InvalidArgument, path, ": holds no prompt");
  return out;
}

std::vector<std::string> prompts_of(const Asked& asked) {
  const int ways = int(!asked.prompts.empty()) + int(!asked.prompt_file.empty()) + int(!asked.prompts_file.empty());
  SWAGE_CHECK(ways == 1, InvalidArgument, ways == 0 ? "a prompt is missing" : "prompts come from one place only",
              ": give --prompt, --prompt-file or --prompts");
  if (!asked.prompt_file.empty()) return {text_of(asked.prompt_file)};
  return asked.prompts_file.empty() ? asked.prompts : prompts_in(asked.prompts_file);
}

// One JSON document a line, in the prompts' order.
void print_lines(const Json& result) {
  const Json::Array& results = result.at("results").as_array();
  for (size_t i = 0; i < results.size(); ++i) {
    for (const Json& choice : results[i].at("choices").as_array()) {
      Json line = Json::object();
      line.set("prompt", int64_t(i));
      for (const auto& [key, value] : choice.as_object()) line.set(key, value);
      std::puts(line.dump().c_str());
    }
  }
}

int run_generate(Asked& asked, const Common& common) {
  GenerateOptions& options = asked.generate;
  options.prompts = prompts_of(asked);
  options.engine.hub = hub_settings();
  options.chat = !asked.raw;
  options.request.sampling.seed = common.seed;
  const Context context = make_context(common);
  const bool streams = !common.json && options.prompts.size() == 1 && options.request.choices == 1;
  const auto emit = [&](size_t, const runtime::Event& event) {
    if (!streams) return;
    std::fwrite(event.text.data(), 1, event.text.size(), stdout);
    std::fflush(stdout);
  };
  const Json result = library().generate(options, context, emit);
  if (common.json) {
    print_json("generate", result);
    return 0;
  }
  if (streams)
    std::puts("");
  else
    print_lines(result);
  std::fflush(stdout);  // before what follows on the other stream
  std::fprintf(stderr, "%lld tokens, %s tokens/s\n", static_cast<long long>(result.get_int("tokens", 0)),
               number_text(result.get_double("tokens_per_second", 0), 1).c_str());
  return 0;
}

}  // namespace

void add_generate(Program& program) {
  auto o = std::make_shared<Asked>();
  runtime::Request& request = o->generate.request;
  CLI::App* command = program.app.add_subcommand("generate", "continue prompts with a dense or compressed model");
  command->footer(
      "Examples:\n"
      "  swage generate ./SmolLM2-W4 -p \"Name three prime numbers.\" --max-new-tokens 40\n"
      "  swage generate ./SmolLM2-W4 --prompts questions.jsonl -n 2 --temperature 0.8 > answers.jsonl");
  command->add_option("model", o->generate.engine.model, "folder of a checkpoint, or a hub id")
      ->required()
      ->type_name("MODEL");
  command->add_option("-p,--prompt", o->prompts, "what to say; may be given several times")->type_name("TEXT");
  command->add_option("--prompt-file", o->prompt_file, "a file with the prompt; -: stdin")->type_name("FILE");
  command
      ->add_option("--prompts", o->prompts_file,
                   "a file with a JSON string, or an object with a \"prompt\", a line: all are answered side by side; "
                   "-: stdin")
      ->type_name("FILE");
  command->add_option("--system", o->generate.system, "system message")->type_name("TEXT");
  command->add_flag("--raw", o->raw, "do not apply the model's chat template");
  command->add_option("-n,--n", request.choices, "answers to each prompt")
      ->capture_default_str()
      ->type_name("")
      ->check(at_least(1));
  command->add_option("--best-of", request.best_of, "make so many, give the most likely ones; 0: as many as --n")
      ->capture_default_str()
      ->type_name("")
      ->check(at_least(0));
  command
      ->add_option("--logprobs", request.top_logprobs,
                   "with --json: logarithms of the probabilities of what was made, and of so many most likely tokens")
      ->type_name("N")
      ->check(at_least(0))
      ->each([o](const std::string&) { o->generate.request.logprobs = true; });
  command->add_flag("--prompt-logprobs", request.prompt_logprobs,
                    "with --json: the same of the prompts' tokens, and as many most likely ones as of the answer's");
  add_sampling(*command, request);
  add_engine(*command, o->generate.engine);
  add_compute(*command, program.common);
  add_json(*command, program.common);
  program.on(command, o, run_generate);
}

}  // namespace swage::cli
