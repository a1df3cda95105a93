#include <fnmatch.h>

#include <algorithm>
#include <filesystem>

#include "apps/cli/commands.h"
#include "apps/cli/environment.h"
#include "apps/cli/library.h"
#include "apps/cli/text.h"
#include "swage/base/printable.h"

namespace swage::cli {
namespace {

struct InspectRequest {
  std::string model, sort = "name", filter;
  bool layers = false, program = false;
};

constexpr size_t kShapes = 100;  // columns from which on a table has room for shapes
constexpr size_t kNumbers = 40;  // what stands behind a name without them

std::string shape_of(const Json& module) {
  std::string out;
  for (const Json& size : module.at("shape").as_array())
    out += (out.empty() ? "" : " x ") + std::to_string(size.as_int());
  return out;
}

std::string percent(const Json* share) {
  return share == nullptr ? std::string() : number_text(100 * share->as_double(), 1) + " %";
}

std::string bits(const Json& row) {
  return row.find("bits_per_weight") == nullptr ? std::string() : number_text(row.get_double("bits_per_weight", 0), 2);
}

// Text to the left, numbers to the right; every column as wide as its widest entry.
void print_table(const std::vector<std::vector<std::string>>& rows, const std::string& alignment) {
  std::vector<size_t> widths(alignment.size(), 0);
  for (const auto& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string space(widths[c] - row[c].size(), ' ');
      line += (c > 0 ? "  " : "") + (alignment[c] == 'l' ? row[c] + space : space + row[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::puts(printable(line).c_str());
  }
}

void print_schemes(const Json& summary) {
  std::vector<std::vector<std::string>> rows = {{"scheme", "modules", "weights", "size", "share", "bits"}};
  for (const Json& one : summary.at("schemes").as_array()) {
    rows.push_back({one.at("scheme").as_string(), cat(one.get_int("modules", 0)),
                    count_text(one.get_int("parameters", 0)), bytes_text(one.get_int("bytes", 0)),
                    percent(one.find("share")), bits(one)});
  }
  print_table(rows, "lrrrrr");
}

// `key`: "kind" or "layer".
void print_groups(const Json& groups, const char* key, size_t columns) {
  std::vector<std::vector<std::string>> rows = {{key, "scheme", "modules", "size", "share", "bits", "worst"}};
  for (const Json& one : groups.as_array()) {
    const Json& name = one.at(key);
    const std::string text = name.is_string() ? name.as_string() : cat(name.as_int());
    rows.push_back({shortened(text, columns - kNumbers - 10), one.get_string("scheme", ""),
                    cat(one.get_int("modules", 0)), bytes_text(one.get_int("bytes", 0)), percent(one.find("share")),
                    bits(one), percent(one.find("worst_error"))});
  }
  print_table(rows, "llrrrrr");
}

// Norms and the like, a line each of next to no bytes, are counted only.
void print_modules(const std::vector<Json>& modules, size_t columns, bool all) {
  const bool shapes = columns >= kShapes;
  std::vector<std::vector<std::string>> rows = {{"module", "shape", "scheme", "size", "bits", "error"}};
  int64_t vectors = 0, bytes = 0;
  for (const Json& module : modules) {
    if (!all && module.at("shape").as_array().size() < 2) {
      ++vectors;
      bytes += module.get_int("bytes", 0);
      continue;
    }
    rows.push_back({shortened(printable(module.at("name").as_string()), columns - kNumbers - (shapes ? 16 : 0)),
                    shape_of(module), module.at("scheme").as_string(), bytes_text(module.at("bytes").as_int()),
                    bits(module), percent(module.find("relative_error"))});
  }
  if (!shapes) {
    for (auto& row : rows) row.erase(row.begin() + 1);
  }
  print_table(rows, shapes ? "lllrrr" : "llrrr");
  if (vectors > 0)
    std::printf("and %lld without a matrix (norms), %s\n", static_cast<long long>(vectors), bytes_text(bytes).c_str());
}

// "v (random-hadamard) on input of Linear, R3 (hadamard) on q_attn of re:.*self_attn$"
std::string transforms_text(const Json& transforms) {
  std::string out;
  for (const Json& one : transforms.as_array()) {
    out += cat(out.empty() ? "" : ", ", one.get_string("group", ""), " (", one.get_string("type", ""), ") on ",
               one.get_string("location", ""), " of ");
    std::string targets;
    for (const Json& target : one.at("targets").as_array())
      targets += (targets.empty() ? "" : " ") + target.as_string();
    out += targets;
  }
  return out;
}

void print_totals(const Json& result) {
  const Json& totals = result.at("totals");
  const int64_t files = result.get_int("files", 0);
  std::vector<std::pair<std::string, std::string>> rows = {
      {"model type", result.get_string("model_type", "")},
      {"parameters", count_text(totals.get_int("parameters", 0))},
      {"size", cat(bytes_text(totals.get_int("bytes", 0)), " in ", files, files == 1 ? " file, " : " files, ",
                   bits(totals), " bits per weight")}};
  if (totals.find("quantized_parameters") != nullptr) {
    rows.emplace_back("quantized", cat(count_text(totals.get_int("quantized_parameters", 0)), " parameters at ",
                                       number_text(totals.get_double("quantized_bits_per_weight", 0), 2), " bits (",
                                       result.get_string("format", ""), ")"));
  }
  rows.emplace_back("embeddings",
                    cat(percent(result.at("summary").find("embedding_share")), " of the size, the head included"));
  if (const Json* transforms = result.find("transforms")) rows.emplace_back("computed", transforms_text(*transforms));
  std::fputs((two_columns(rows) + "\n").c_str(), stdout);
}

bool passes(const Json& module, const std::string& filter) {
  const std::string& name = module.at("name").as_string();
  const bool pattern = filter.find_first_of("*?[") != std::string::npos;
  return pattern ? ::fnmatch(filter.c_str(), name.c_str(), 0) == 0 : name.find(filter) != std::string::npos;
}

// Those that pass the filter, in the order asked for.
std::vector<Json> chosen_modules(const Json& result, const InspectRequest& request) {
  std::vector<Json> out;
  for (const Json& module : result.at("modules").as_array()) {
    if (passes(module, request.filter)) out.push_back(module);
  }
  const auto falls_by = [&](const char* key) {
    std::stable_sort(out.begin(), out.end(),
                     [key](const Json& a, const Json& b) { return a.get_double(key, -1) > b.get_double(key, -1); });
  };
  if (request.sort == "error")
    falls_by("relative_error");
  else if (request.sort == "size")
    falls_by("bytes");
  else
    SWAGE_CHECK(request.sort == "name", InvalidArgument, "--sort ", request.sort, ": known are name, size, error");
  return out;
}

int run_inspect(const InspectRequest& request, const Common& common) {
  const bool local = std::filesystem::exists(request.model);
  const ModelHeaders headers = local ? ModelHeaders{request.model, nullptr}
                                     : library().model_headers(request.model, hub_settings(), make_context(common));
  common.console->end_line();
  if (request.program) {
    const Json program = library().program_of(headers.folder);
    if (common.json)
      print_json("inspect", program);
    else
      std::fputs(program.get_string("text", "").c_str(), stdout);
    return 0;
  }
  Json result = inspect(headers.folder);
  result.set("model", request.model);
  for (const Json& warning : result.at("warnings").as_array())
    common.console->say(Severity::Warning, warning.as_string());
  std::vector<Json> modules = chosen_modules(result, request);
  SWAGE_CHECK(request.filter.empty() || !modules.empty(), InvalidArgument, "--filter ", request.filter,
              ": no module of ", request.model, " has such a name");
  if (common.json) {
    result.set("modules", std::move(modules));
    print_json("inspect", result);
    return 0;
  }
  const size_t columns = size_t(std::clamp(output_columns(), 60, 1000));
  const Json& summary = result.at("summary");
  const bool all = !request.filter.empty();
  if (!all) {
    print_totals(result);
    print_schemes(summary);
    std::puts("");
    print_groups(summary.at(request.layers ? "layers" : "kinds"), request.layers ? "layer" : "kind", columns);
    if (request.layers) return 0;
    std::puts("");
  }
  print_modules(modules, columns, all);
  return 0;
}

}  // namespace

void add_inspect(Program& program) {
  auto request = std::make_shared<InspectRequest>();
  CLI::App* command = program.app.add_subcommand("inspect", "modules of a checkpoint: shapes, schemes, sizes, errors");
  command->footer(
      "Reads headers only, whatever the size: of a hub id, these alone are fetched. The errors come from the "
      "swage_report.json that compress leaves; \"worst\" is the largest of a "
      "kind or layer.\n\n"
      "Examples:\n  swage inspect ./SmolLM2-W4\n  swage inspect ./SmolLM2-W4 --sort error\n  swage inspect "
      "./SmolLM2-W4 --filter '*.down_proj'");
  command->add_option("model", request->model, "folder of a checkpoint, or a hub id")->required()->type_name("MODEL");
  command->add_flag("--layers", request->layers, "a line for each layer in place of the kinds and modules");
  command->add_option("--sort", request->sort, "order of the modules: name (as they run), size or error, largest first")
      ->capture_default_str()
      ->type_name("");
  command
      ->add_option("--filter", request->filter,
                   "only modules with this in their name, or of this pattern with * and ?; norms too")
      ->type_name("TEXT");
  command->add_flag("--program", request->program,
                    "print what the model's blocks compute instead; a config.json is enough");
  add_json(*command, program.common);
  program.on(command, request, run_inspect);
}

}  // namespace swage::cli
