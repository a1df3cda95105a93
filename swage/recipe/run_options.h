// Options of a run, each declared once: the program's options, recipe.yaml and the job that runs are made of these
// structs, which others read through their visits and hand on whole.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "swage/base/device_map.h"
#include "swage/base/json.h"
#include "swage/base/memory_budget.h"

namespace swage {

// What is done to a model: a recipe, as a file or by the name of a shipped one, or a method by its name.
struct RecipeChoice {
  std::string recipe_file;
  std::string method = "gptq";
  // Fields of the method's modifiers (see modifiers/config.h), or in place of what the recipe says.
  Json method_fields = Json::object();
  std::vector<std::string> rotate;      // before the method: R1 to R4; see SpinQuantModifier
  std::optional<double> prune_experts;  // before the method: the share of experts that goes; see REAPPruningModifier

  template <class V>
  void visit(V& v) {
    v("recipe", recipe_file,
      "YAML or JSON recipe (LLM Compressor's are read as they are), or the name of a shipped one: w4a16, w8a8-int8, "
      "fp8-dynamic, nvfp4 and others of recipes/; fields given beside it count before its own");
    v("method", method,
      "gptq, or rtn (round to nearest, needs no data); awq, smoothquant, spinquant, quip: the shipped recipe that "
      "rescales or turns weights and then rounds them; or to prune: sparsegpt, wanda, magnitude (needs no data); or to "
      "take whole experts out: reap");
    v("rotate", rotate,
      "R1,R2: rotations folded into the weights first, which spread outliers: R1 of the residual stream, R2 of the "
      "values of each head. R3 (queries and keys) and R4 (input of down_proj) are computed by the reader: vLLM, swage "
      "(recipes: SpinQuantModifier, QuIPModifier)");
    v("prune_experts", prune_experts,
      "share of the experts of each layer that go first, between 0 and 1: those that matter least on the calibration "
      "text (REAP)");
  }
};

// What a plan needs to know of a run.
struct PlanOptions {
  int64_t num_calibration_samples = 512;
  int64_t max_seq_length = 2048;
  bool moe_routed = false;  // experts calibrate on the tokens routed to them; false: on all tokens
  bool model_free = false;  // from the shards alone, for any architecture; data-free methods only
  bool check = true;        // perplexity of both models on a few windows after writing
  DeviceMap device_map = DeviceMap::None;
  MemoryBudget max_memory;  // a plan that exceeds it is refused, once activations are in a file

  template <class V>
  void visit_rows(V& v) {
    v("num_calibration_samples", num_calibration_samples, "rows of tokens to calibrate on, at most");
    v("max_seq_length", max_seq_length, "tokens in a row; by default fewer where the model takes fewer");
  }
  template <class V>
  void visit_routing(V& v) {
    v("moe_routed", moe_routed, "calibrate experts on the tokens routed to them, not on all");
  }
  template <class V>
  void visit_way(V& v) {
    v("model_free", model_free, "work from the shards alone, for any architecture (methods without data only)");
  }
  template <class V>
  void visit_memory(V& v) {
    v("device_map", device_map,
      "auto: everything the run keeps stays in memory; auto_offload: activations that have no room go to disk; cpu; "
      "cuda");
    v("max_memory", max_memory,
      "stay inside this much of the host's memory: activations that have no room go to a file, and what cannot fit is "
      "refused");
  }
  template <class V>
  void visit_check(V& v) {
    v("check", check, "skip comparing the perplexity of source and output after writing");
  }
};

struct RunOptions : PlanOptions {
  std::string data_file;    // text: a file, "builtin", or a data set by name, see data/data_source.h; empty: none
  std::string text_column;  // empty: found by the columns that there are
  bool pack = true;         // documents end to end; false: one document a row, cut to the length, shorter ones skipped
  bool shuffle = false;     // documents, by the run's seed

  std::string offload_folder;  // where activations lie while they are not worked on; empty: in memory
  ShardSize max_shard_size;
  bool overwrite = false;
  bool restart = false;    // throw away what an earlier run kept
  bool resume = true;      // keep what is finished when interrupted; go on with what an earlier run kept
  bool dry_run = false;    // stop after the plan
  std::string trace_file;  // JSON in Chrome's trace format: what each thread did when, also of a run that failed

  // How the text is looked at: what recipe.yaml keeps, so that given back it makes the same bytes.
  template <class V>
  void visit_calibration(V& v) {
    v("data", data_file,
      "calibration text: a .jsonl, .json, .txt or .parquet file; builtin; a data set by name: open_platypus, "
      "ultrachat-200k, c4, wikitext, gsm8k ...; or any of the hub as org/name:split[:512]");
    v("text_column", text_column,
      "column with the text or the messages [found: text, messages, conversations, prompt and response, ...]");
    visit_rows(v);
    v("pack", pack, "one document a row, cut to the length, shorter ones skipped");
    v("shuffle", shuffle, "take the documents in an order drawn from --seed");
    visit_routing(v);
  }
  template <class V>
  void visit_memory(V& v) {
    PlanOptions::visit_memory(v);
    v("offload_folder", offload_folder,
      "keep activations in a file in this folder instead of memory, with --max-memory those that have no room; nothing "
      "stays there");
  }
  template <class V>
  void visit_shards(V& v) {
    v("max_shard_size", max_shard_size, "most weights in one file");
  }
  template <class V>
  void visit_output(V& v) {
    visit_shards(v);
    v("overwrite", overwrite, "replace the output folder if it exists, once the new one is complete");
    v("restart", restart, "throw away what an interrupted run with this output kept, and start anew");
    v("resume", resume,
      "keep nothing when interrupted (without it, the same command goes on after the last finished layer)");
    v("dry_run", dry_run, "print the plan (memory, size, work) and stop; nothing is written");
    v("trace", trace_file, "write what each thread did when, for ui.perfetto.dev (Chrome's trace format)");
    visit_check(v);
  }
};

// How a checkpoint is written in another format.
struct ConvertChoice {
  std::string to;     // "pack-quantized", "gptq", "gptq_v2", "awq", "dense"
  std::string dtype;  // of a dense model's weights: "bf16", "f16", "f32"; empty: that of the model's other weights
  bool allow_rounding = false;  // of scales that the target's type does not hold exactly
  ShardSize max_shard_size;
  bool overwrite = false;

  template <class V>
  void visit(V& v) {
    v("to", to, "pack-quantized, gptq, gptq_v2, awq or dense");
    v("dtype", dtype, "with --to dense: bf16, f16 or f32 [that of the other weights]");
    v("allow_rounding", allow_rounding,
      "round scales that f16, the type of scales in gptq and awq, does not hold exactly");
    v("max_shard_size", max_shard_size, "most weights in one file");
    v("overwrite", overwrite, "replace the output folder if it exists, once the new one is complete");
  }
};

// How a run was made beside its modifiers, as the saved recipe.yaml keeps it under "swage".
struct RunSettings {
  std::string version;
  int64_t seed = 0;
  RunOptions options;

  template <class V>
  void visit(V& v) {
    v("version", version, "of the swage that ran");
    v("seed", seed, "of the run");
    options.visit_calibration(v);
    options.visit_shards(v);
  }
};

}  // namespace swage
