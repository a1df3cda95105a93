// The public API of swage: everything the program does, as functions. The only header that apps and bindings include.
// Free of libtorch: what it needs of it stays behind these calls. Errors are swage::Error.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "swage/base/context.h"
#include "swage/base/error.h"
#include "swage/base/json.h"
#include "swage/base/version.h"
#include "swage/modifiers/config.h"
#include "swage/net/http_server.h"
#include "swage/recipe/run_options.h"
#include "swage/runtime/request.h"

namespace swage {

// How names that are no folders or files are looked up: by HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE
// and the like, as Hugging Face's own tools read them (swage/data/hub.h lists them). The library never looks at the
// environment by itself.
struct HubSettings {
  // A variable's value, or nothing if it is not set.
  std::function<std::optional<std::string>(const std::string& name)> variable = [](const std::string&) {
    return std::optional<std::string>();
  };
};

// Text in a file (JSONL, plain text or Parquet), "builtin", or a data set by name: "open_platypus",
// "org/name:split[:512]"; see data/data_source.h.
struct TextSource {
  std::string file;
  std::string text_column;  // empty: found by the columns that there are
};

struct CompressOptions : RecipeChoice, RunOptions {
  std::string model;   // folder, or hub id
  std::string output;  // folder to make
  HubSettings hub;
  std::vector<std::string> given;  // names of options ("seed", "data", "max-seq-length") that were given: they count
                                   // before what the recipe's file says of the run

  // Everything but `hub` and `given`, which the caller knows: for bindings.
  template <class V>
  void visit(V& v) {
    v("model", model, "folder of a Hugging Face checkpoint, or a hub id");
    v("output", output, "folder to make");
    RecipeChoice::visit(v);
    v("fields", method_fields, "fields of the method's modifiers, or in place of what the recipe says");
    visit_way(v);
    visit_calibration(v);
    visit_memory(v);
    visit_output(v);
  }
};

// Plans, compresses, writes, checks. Returns the report that is also written to OUT/swage_report.json. Interrupted or
// killed, the same call goes on after the last finished layer, and the result is the same, byte for byte.
Json compress(const CompressOptions& options, const Context& context);

struct EstimateOptions : RecipeChoice, PlanOptions {
  std::string model;  // folder with config.json, with or without weights; a config.json; or a hub id
  HubSettings hub;
  std::string rates;  // "gemm=250G,copy=8G,disk=1.2G", a second; what is left out is measured in at most two seconds

  template <class V>
  void visit(V& v) {
    v("model", model, "folder of a checkpoint, its config.json alone, or a hub id");
    RecipeChoice::visit(v);
    v("fields", method_fields, "fields of the method's modifiers, or in place of what the recipe says");
    visit_rows(v);
    visit_routing(v);
    visit_check(v);
    visit_way(v);
    visit_memory(v);
    v("rates", rates, "of another machine, a second: gemm=60T,copy=1T,disk=2G; what is left out is measured here");
  }
};

// What a compression would take: memory of the host and of a device by stage, disk, work, time. From config.json and
// the headers of the shards alone. {"parameters", "layers", "plan", "rates", "warnings", ...}
Json estimate(const EstimateOptions& options, const Context& context);

struct ConvertOptions : ConvertChoice {
  std::string model;   // folder or hub id of a quantized checkpoint
  std::string output;  // folder to make
  HubSettings hub;

  template <class V>
  void visit(V& v) {
    v("model", model, "folder or hub id of a quantized checkpoint");
    v("output", output, "folder to make");
    ConvertChoice::visit(v);
  }
};

// The same weights in another format, read back and compared. {"from", "to", "modules", "source_bytes", "output_bytes",
// "warnings", ...}
Json convert(const ConvertOptions& options, const Context& context);

struct EvaluateOptions {
  std::string model;
  HubSettings hub;
  TextSource data;
  int64_t window = 512;
  int64_t max_windows = 0;  // 0: all
  std::string baseline;     // a model to compare the predictions with; empty: none

  template <class V>
  void visit(V& v) {
    v("model", model, "folder of a checkpoint, or a hub id");
    v("data", data.file, "text: a file, builtin, or a data set by name");
    v("text_column", data.text_column, "column with the text or the messages; empty: found");
    v("window", window, "tokens in a window");
    v("max_windows", max_windows, "windows at most; 0: all");
    v("baseline", baseline, "a model to compare the predictions with");
  }
};

// {"perplexity", "nll", "tokens", "windows", "window", "seconds", ...}; with a baseline also {"baseline_perplexity",
// "perplexity_ratio", "kl_mean", "kl_p99", "same_top1", "layer_relative_errors"}: the last are ||model - baseline|| /
// ||baseline|| of the residual stream behind each layer
Json evaluate(const EvaluateOptions& options, const Context& context);

struct LogitsOptions {
  std::string model;
  HubSettings hub;
  // A safetensors file whose one tensor, or the one called "input_ids", is int64 or int32 [batch, positions]. For
  // encoders and encoder-decoders besides, of the same types: "attention_mask", "token_type_ids", "decoder_input_ids".
  std::string token_ids;
  // A safetensors file that is written: "logits", float32 [batch, positions, vocabulary]; of a discriminator [batch,
  // positions]. Values at padded positions are 0. Empty: none
  std::string output;
  // The same with "last_hidden_state", float32 [batch, positions, hidden]: behind the last layer and its norm. Empty:
  // none
  std::string hidden_output;
};

// What the model predicts behind each position, for readers of other programs. No tokenizer is needed. {"batch",
// "positions", "vocabulary", "seconds", ...}
Json save_logits(const LogitsOptions& options, const Context& context);

// How the engine runs a model.
struct EngineOptions {
  std::string model;  // folder, or hub id
  HubSettings hub;
  std::string kv_cache_type = "f32";  // "f32", "f16", "bf16", "int8", "fp8": numbers of the KV cache
  std::string max_memory;             // "2GiB": of the whole process; empty: no bound
  int64_t max_context = 0;            // tokens of prompt and answer at most; 0: as the model takes and memory holds
  int64_t cache_tokens = 0;           // that the cache holds of all requests together; 0: by max_memory, or four
                                      // contexts of at most 4096
  int64_t step_tokens = 256;          // computed in one step: prompts are read in pieces of at most so many
  int64_t beside_tokens = 256;        // of prompts in a step that goes on with answers too, which wait for its end
  int64_t max_sequences = 64;         // answers that are made side by side
  int64_t max_waiting = 1024;         // answers that wait; more are not taken
  bool share_prefixes = true;         // prompts that begin alike are computed once

  template <class V>
  void visit(V& v) {
    v("model", model, "folder of a checkpoint, or a hub id");
    v("kv_cache_type", kv_cache_type, "numbers of the KV cache: f32, f16 or bf16");
    v("max_memory", max_memory, "of the whole process: 2GiB; empty: no bound");
    v("max_context", max_context, "tokens of prompt and answer at most; 0: as the model takes and memory holds");
    v("cache_tokens", cache_tokens, "that the cache holds of all requests together; 0: by max_memory, or as usual");
    v("step_tokens", step_tokens, "computed in one step");
    v("max_sequences", max_sequences, "answers that are made side by side");
    v("max_waiting", max_waiting, "answers that wait; more are not taken");
    v("share_prefixes", share_prefixes, "prompts that begin alike are computed once");
  }
};

// A model with requests in flight: runtime/request.h says what is asked and answered. submit() and cancel() may be
// called from any thread, and what tells of it; step() and wait() from one. A request's tokens do not depend on what
// runs beside it: on the CPU to the bit.
class Engine {
 public:
  virtual ~Engine() = default;
  // Nothing if too many wait. Error(InvalidArgument) naming what is wrong with the request.
  virtual std::optional<runtime::RequestId> submit(runtime::Request request, runtime::EventSink sink) = 0;
  // Its blocks of the cache are free before the next step.
  virtual void cancel(runtime::RequestId request) = 0;
  // Computes one step and calls the sinks of those that got further; false if there is nothing to do.
  virtual bool step() = 0;
  // Until a request or a cancellation comes, or for so long.
  virtual void wait(std::chrono::milliseconds most) = 0;

  virtual std::vector<int64_t> encode(const std::string& text, bool special_tokens) const = 0;
  virtual std::string decode(const std::vector<int64_t>& ids, bool skip_special_tokens) const = 0;
  virtual bool has_chat_template() const = 0;
  // messages: [{"role", "content"}], through the model's chat template, up to where the answer begins.
  virtual std::vector<int64_t> encode_chat(const Json& messages) const = 0;
  // The text that is made of them. `variables`: more names that the template sees, {"tools": [...]}; null: none.
  virtual std::string render_chat(const Json& messages, const Json& variables, bool add_generation_prompt) const = 0;
  // Whether the template has this word.
  virtual bool chat_template_mentions(const std::string& word) const = 0;
  // What each token adds to the text of those before it; nothing where a character is not complete.
  virtual std::vector<std::string> pieces(const std::vector<int64_t>& ids) const = 0;

  // {"plan": {"weight_bytes", "cache_bytes", "peak_bytes", "cache_tokens", "context", ...}, "model_type", "vocabulary",
  // "hidden_size", "token_weight_bytes": weights that every token reads, left out of mixtures}
  virtual Json describe() const = 0;
  // {"running", "waiting", "cache_blocks", "cache_blocks_free", "prompt_tokens", "cached_tokens", "new_tokens", ...}
  virtual Json stats() const = 0;
};

// Plans the memory, loads the model. Error(InvalidArgument) with what it takes if that is more than is allowed.
std::unique_ptr<Engine> open_engine(const EngineOptions& options, const Context& context);

struct GenerateOptions {
  EngineOptions engine;
  std::vector<std::string> prompts;
  std::string system;        // system message, with chat
  bool chat = true;          // through the chat template, if the model has one
  runtime::Request request;  // what is asked of each prompt, but for its ids

  template <class V>
  void visit(V& v) {
    engine.visit(v);
    v("prompts", prompts, "what to say: all are answered side by side");
    v("system", system, "system message, with chat");
    v("chat", chat, "through the chat template, if the model has one");
    request.visit(v);
  }
};

// News of an answer to one of the prompts.
using GenerateSink = std::function<void(size_t prompt, const runtime::Event& event)>;

// Answers all prompts, side by side. {"tokens", "tokens_per_second", "results": [{"prompt_tokens", "choices": [{"text",
// "tokens", "stopped", ...}]}], "plan", "engine", ...}; of a single prompt also "text" and "stopped".
Json generate(const GenerateOptions& options, const Context& context, const GenerateSink& emit = {});

struct BenchOptions {
  EngineOptions engine;  // room in its cache and answers side by side are made to fit
  std::vector<int64_t> batches = {1, 2, 4, 8, 16};
  std::vector<int64_t> prompt_tokens = {512};
  int64_t new_tokens = 512;
  int64_t repeats = 3;
};

// How fast the engine reads prompts of random tokens and makes text. {"model", "load_seconds", "runs": [{"batch",
// "prompt_tokens", "prompt_tokens_per_second", "decode_tokens_per_second", "first_token_seconds", "token_seconds",
// ...}], "machine", "peak_rss_bytes", ...}: rates are medians of the repeats, with the least and the largest;
// times have percentiles of all that were measured.
Json bench(const BenchOptions& options, const Context& context);

struct PushOptions {
  std::string folder;                    // of a model
  std::string repo;                      // "org/name", made if it is not there
  HubSettings hub;                       // with a token
  std::string revision = "main";         // a branch, made if it is not there
  std::string message = "Upload model";  // of the commit
  std::optional<bool> is_private;        // of a repository that is made now; nothing: as the account's owner has set it

  template <class V>
  void visit(V& v) {
    v("folder", folder, "of a model");
    v("repo", repo, "org/name, made if it is not there");
    v("revision", revision, "a branch, made if it is not there");
    v("message", message, "of the commit");
    v("private", is_private, "whether a repository that is made now is private");
  }
};

// Uploads a folder to the hub in one commit; what is there already is not sent again. {"url", "commit", "files",
// "bytes", "uploaded_bytes", ...}
Json push(const PushOptions& options, const Context& context);

// The local folder of a model: itself, or the snapshot of a hub id (downloaded if it is not in the cache).
std::string resolve_model(const std::string& folder_or_id, const HubSettings& hub, const Context& context);

// The same for inspect(): of a hub id that is not in the cache, configuration and headers alone, in a folder that lives
// as long as `lifetime`.
struct ModelHeaders {
  std::string folder;
  std::shared_ptr<const void> lifetime;
};
ModelHeaders model_headers(const std::string& folder_or_id, const HubSettings& hub, const Context& context);

// What the blocks of a model compute, by its config.json: {"text", "tensors": [{"name", "shape"}], "modules":
// [{"name", "role", "rows", "columns", ...}]}.
Json program_of(const std::string& model_folder);

// What this build is and what it runs on: {"build_id", "compiler", "libtorch", "libtorch_isa", "isa", "threads"}.
Json about();

// The presets: {"scheme", "bits", "group_size", "activations", "format", "consumers", "loss"}, what is known of readers
// and of losses from the dated matrix of docs/consumers.md. Without libtorch.
Json schemes();

// What a model's files take in each preset, of which none but the head is left out: {"W4A16": {"output_bytes",
// "output_group_size" where it is not the preset's own}}; a preset that fits in no groups is left out. The model is
// opened once.
Json scheme_sizes(const std::string& model, const HubSettings& hub, const Context& context);

// The scheme for who will read the output ("vllm", "vllm:hopper", "transformers"): `preset` if it is given and that
// reader takes it, else the one that suits it. Error(Unsupported) saying what would do instead; Error(InvalidArgument)
// listing the known readers. Without libtorch.
std::string scheme_for(const std::string& reader, const std::string& preset, const std::string& actorder);

// Names of the presets that a scheme may have, in upper case. Without libtorch.
std::vector<std::string> preset_names();

// Modules with scheme, size, bits per weight, in the order in which they run; totals; a summary by scheme, kind and
// layer; errors if the folder holds a swage_report.json. Without libtorch.
Json inspect(const std::string& model_folder);

}  // namespace swage
