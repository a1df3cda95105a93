#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/numbers.h"
#include "apps/cli/text.h"

namespace swage::cli {
namespace {

// How far the residual stream is from the baseline's behind the layers.
std::string layers_text(const std::vector<Json>& errors) {
  const auto percent = [&](size_t layer) {
    return cat(number_text(100 * errors[layer].as_double(), 2), " % behind layer ", layer);
  };
  size_t most = 0;
  for (size_t i = 0; i < errors.size(); ++i) most = errors[i].as_double() > errors[most].as_double() ? i : most;
  return cat(percent(0), ", ", percent(errors.size() - 1), "; most: ", percent(most));
}

int run_eval(EvaluateOptions& options, const Common& common) {
  options.hub = hub_settings();
  const Context context = make_context(common);
  const Json result = library().evaluate(options, context);
  common.console->end_line();
  if (common.json) {
    print_json("eval", result);
    return 0;
  }
  std::vector<std::pair<std::string, std::string>> rows = {
      {"perplexity", number_text(result.get_double("perplexity", 0), 4)}};
  if (!options.baseline.empty()) {
    rows.emplace_back("baseline", cat(number_text(result.get_double("baseline_perplexity", 0), 4), ", ratio ",
                                      number_text(result.get_double("perplexity_ratio", 0), 4)));
    rows.emplace_back("KL divergence",
                      cat(number_text(result.get_double("kl_mean", 0), 5), " nats a token; 99 % below ",
                          number_text(result.get_double("kl_p99", 0), 4)));
    rows.emplace_back("same top-1", cat(number_text(100 * result.get_double("same_top1", 0), 2), " % of tokens"));
    const std::vector<Json>& errors = result.at("layer_relative_errors").as_array();
    if (!errors.empty()) rows.emplace_back("output error", layers_text(errors));
  }
  rows.insert(rows.end(), {{"tokens", cat(result.get_int("tokens", 0), " in ", result.get_int("windows", 0),
                                          " windows of ", result.get_int("window", 0))},
                           {"time", seconds_text(result.get_double("seconds", 0))},
                           {"peak memory", bytes_text(result.get_int("peak_rss_bytes", 0))}});
  std::fputs(two_columns(rows).c_str(), stdout);
  return 0;
}

int run_eval(LogitsOptions& options, const Common& common) {
  options.hub = hub_settings();
  const Context context = make_context(common);
  const Json result = library().save_logits(options, context);
  common.console->end_line();
  if (common.json) {
    print_json("eval", result);
    return 0;
  }
  for (const auto& [file, what] :
       {std::pair(options.output, "logits"), std::pair(options.hidden_output, "last hidden states")}) {
    if (!file.empty())
      std::fputs(cat(file, ": ", what, " of ", result.get_int("batch", 0), " rows of ", result.get_int("positions", 0),
                     " positions\n")
                     .c_str(),
                 stdout);
  }
  return 0;
}

// Inputs without a text, and what is saved of them.
void add_token_ids(CLI::App& command, LogitsOptions& logits) {
  auto* ids = command
                  .add_option("--token-ids", logits.token_ids,
                              "safetensors file of token ids, int64 [batch, positions], called input_ids or the only "
                              "tensor; encoders and encoder-decoders take attention_mask, token_type_ids and "
                              "decoder_input_ids beside them: saves logits instead")
                  ->type_name("FILE");
  command.add_option("--save-logits", logits.output, "safetensors file that takes them, as logits")
      ->type_name("FILE")
      ->needs(ids);
  command
      .add_option("--save-hidden", logits.hidden_output,
                  "safetensors file that takes what the last layer makes of them, as last_hidden_state, float32 "
                  "[batch, positions, hidden]")
      ->type_name("FILE")
      ->needs(ids);
  ids->excludes("--data")->excludes("--baseline");
}

}  // namespace

void add_eval(Program& program) {
  auto o = std::make_shared<EvaluateOptions>();
  auto logits = std::make_shared<LogitsOptions>();
  CLI::App* command = program.app.add_subcommand("eval", "perplexity of a dense or compressed model on a text");
  command->footer(
      "Protocol: documents joined by a blank line, tokenized once without special tokens, cut into windows that do "
      "not\n"
      "overlap; mean negative log likelihood of every token of a window but its first.\n"
      "Of a masked language model (BERT and its like): windows begin and end with what the tokenizer puts around a "
      "text;\n"
      "15 % of the tokens between, the same in each run, are exchanged for the mask token, and it is these that "
      "count.\n"
      "With --token-ids there is no text and no perplexity: the logits of these ids are saved, float32 [batch, "
      "positions, vocabulary].\n\n"
      "Example:\n  swage eval ./SmolLM2-W4 -d heldout.jsonl --window 512 --max-windows 40");
  command->add_option("model", o->model, "folder of a checkpoint, or a hub id")->required()->type_name("MODEL");
  command
      ->add_option("-d,--data", o->data.file,
                   "text: a .jsonl, .json, .txt or .parquet file; builtin; wikitext2 and the like; or "
                   "org/name:split[:512] of the hub")
      ->type_name("DATA");
  command->add_option("--text-column", o->data.text_column, "column with the text or the messages [found]")
      ->type_name("NAME");
  command->add_option("--window", o->window, "tokens a window")
      ->capture_default_str()
      ->type_name("")
      ->check(whole_number<int64_t>(2));
  command
      ->add_option("--baseline", o->baseline,
                   "model to compare with, usually the one it was made of: KL divergence, same top-1, error of each "
                   "layer's output (--json lists them)")
      ->type_name("MODEL");
  command->add_option("--max-windows", o->max_windows, "windows to evaluate; 0: all")
      ->capture_default_str()
      ->type_name("")
      ->check(whole_number<int64_t>(0));
  add_token_ids(*command, *logits);
  add_compute(*command, program.common);
  add_json(*command, program.common);
  command->callback([&program, o, logits] {
    logits->model = o->model;
    const bool saves = !logits->token_ids.empty();
    if (saves && logits->output.empty() && logits->hidden_output.empty())
      throw CLI::RequiredError("--save-logits or --save-hidden");
    if (!saves && o->data.file.empty()) throw CLI::RequiredError("--data");
    program.chosen = [&program, o, logits, saves] {
      return saves ? run_eval(*logits, program.common) : run_eval(*o, program.common);
    };
  });
}

}  // namespace swage::cli
