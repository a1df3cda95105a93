// How fast models run here: the table that says which one to take.
#include <cstdio>

#include "apps/cli/commands.h"
#include "apps/cli/engine_options.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/text.h"

namespace swage::cli {
namespace {

struct BenchAsked {
  BenchOptions bench;
  std::vector<std::string> models;
  bool markdown = false;
};

// {"scheme", "bits", "group_size", "act_order"} of what is quantized, as far as config.json says.
Json weights_of(const std::string& folder) {
  const Json found = inspect(folder);
  Json out = Json::object();
  for (const Json& scheme : found.at("summary").at("schemes").as_array()) {
    const std::string name = scheme.get_string("scheme", "");
    if (name != "float") out.set("scheme", name);
  }
  if (out.find("scheme") == nullptr) out.set("scheme", "float");
  out.set("bytes", found.at("totals").at("bytes"));
  return out;
}

using Row = std::vector<std::string>;

Row row_of(const Json& model, const Json& run) {
  const auto number = [](const Json& json, const char* name, double factor, int digits) {
    const Json* value = json.find(name);
    return value == nullptr ? std::string("-") : number_text(value->as_double() * factor, digits);
  };
  const Json* decode = run.find("decode_tokens_per_second");
  const Json* token = run.find("token_seconds");
  const Json* first = run.find("first_token_seconds");
  return {model.get_string("model", ""),
          model.at("weights").get_string("scheme", ""),
          number(model, "load_seconds", 1, 2),
          std::to_string(run.get_int("batch", 0)),
          std::to_string(run.get_int("prompt_tokens", 0)),
          number(run.at("prompt_tokens_per_second"), "median", 1, 1),
          first == nullptr ? "-" : number(*first, "p50", 1e3, 1),
          token == nullptr ? "-" : number(*token, "p50", 1e3, 2),
          token == nullptr ? "-" : number(*token, "p99", 1e3, 2),
          decode == nullptr ? "-" : number(*decode, "median", 1, 1),
          number(run, "read_share", 100, 0),
          number(run, "peak_rss_bytes", 1.0 / (1 << 20), 0)};
}

std::vector<Row> table_of(const Json::Array& models) {
  std::vector<Row> rows = {{"model", "weights", "load s", "batch", "prompt", "prompt tok/s", "first token ms",
                            "token ms", "p99 ms", "tok/s", "% of reading", "peak MiB"}};
  for (const Json& model : models) {
    for (const Json& run : model.at("runs").as_array()) rows.push_back(row_of(model, run));
  }
  return rows;
}

void print_table(const std::vector<Row>& rows, bool markdown) {
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < rows[r].size(); ++i) {
      const std::string space(widths[i] - rows[r][i].size(), ' ');
      line += markdown ? "| " : i == 0 ? "" : "  ";
      line += i < 2 ? rows[r][i] + space : space + rows[r][i];
      if (markdown) line += " ";
    }
    std::puts((line + (markdown ? "|" : "")).c_str());
    if (!markdown || r > 0) continue;
    for (size_t i = 0; i < widths.size(); ++i) std::fputs(i < 2 ? "| --- " : "| ---: ", stdout);
    std::puts("|");
  }
}

int run_bench(BenchAsked& asked, const Common& common) {
  const Context context = make_context(common);
  asked.bench.engine.hub = hub_settings();
  Json::Array models;
  Json machine;
  for (const std::string& name : asked.models) {
    asked.bench.engine.model = library().resolve_model(name, asked.bench.engine.hub, context);
    Json one = library().bench(asked.bench, context);
    one.set("model", name);
    one.set("weights", weights_of(asked.bench.engine.model));
    machine = one.at("machine");
    models.push_back(std::move(one));
  }
  common.console->end_line();
  if (common.json) {
    Json out = Json::object();
    out.set("models", Json(std::move(models)));
    print_json("bench", out);
    return 0;
  }
  print_table(table_of(models), asked.markdown);
  std::fflush(stdout);
  std::fprintf(stderr, "%lld threads, %s, %s GB/s read, %s GFLOP/s of f32 products\n",
               static_cast<long long>(machine.get_int("threads", 0)), machine.get_string("instructions", "").c_str(),
               number_text(machine.at("read_bytes_per_second").as_double() / 1e9, 1).c_str(),
               number_text(machine.at("f32_product_flops_per_second").as_double() / 1e9, 0).c_str());
  return 0;
}

}  // namespace

void add_bench(Program& program) {
  auto o = std::make_shared<BenchAsked>();
  BenchOptions& bench = o->bench;
  CLI::App* command = program.app.add_subcommand("bench", "measure how fast models read prompts and make text here");
  command->footer(
      "Prompts are random tokens, all of them different. Prompt rates are of all prompts of a batch until each has "
      "one\n"
      "token; the rate of text is counted from when all answers have begun. Rates are medians of --repeats.\n\n"
      "Examples:\n"
      "  swage bench ./SmolLM2 ./SmolLM2-W4 --markdown\n"
      "  swage bench ./SmolLM2-W4 --batch 1 --prompt-tokens 128,1024 --new-tokens 64 --threads 1 --json");
  command->add_option("models", o->models, "folders of checkpoints, or hub ids")
      ->required()
      ->type_name("MODEL...")
      ->expected(1, 64);
  const auto numbers = [&](const char* name, std::vector<int64_t>& value, const char* help) {
    command->add_option(name, value, help)->delimiter(',')->capture_default_str()->type_name("")->check(at_least(1));
  };
  numbers("--batch", bench.batches, "answers that are made side by side");
  numbers("--prompt-tokens", bench.prompt_tokens, "tokens of each prompt");
  command->add_option("--new-tokens", bench.new_tokens, "tokens of each answer")
      ->capture_default_str()
      ->type_name("")
      ->check(at_least(1));
  command->add_option("--repeats", bench.repeats, "times that each batch is measured")
      ->capture_default_str()
      ->type_name("")
      ->check(at_least(1));
  command->add_flag("--markdown", o->markdown, "print the table for a document");
  add_engine(*command, bench.engine);
  add_compute(*command, program.common);
  add_json(*command, program.common);
  program.on(command, o, run_bench);
}

}  // namespace swage::cli
