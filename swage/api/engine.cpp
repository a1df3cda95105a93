#include "swage/runtime/engine.h"

#include "swage/api/guard.h"
#include "swage/api/model_session.h"
#include "swage/base/memory.h"
#include "swage/base/memory_budget.h"

namespace swage {
namespace {

kernels::CacheFormat cache_format(const std::string& name) {
  if (name == "f32") return kernels::CacheFormat::F32;
  if (name == "bf16") return kernels::CacheFormat::BF16;
  if (name == "int8") return kernels::CacheFormat::Int8;
  if (name == "fp8") return kernels::CacheFormat::E4M3;
  SWAGE_CHECK(name == "f16", InvalidArgument, "a KV cache of type \"", name,
              "\": expected f32, f16, bf16, int8 or fp8");
  return kernels::CacheFormat::F16;
}

runtime::EngineOptions runtime_options(const EngineOptions& options) {
  runtime::EngineOptions out;
  out.cache_format = cache_format(options.kv_cache_type);
  out.schedule = {options.step_tokens, options.max_sequences, options.beside_tokens};
  if (!options.max_memory.empty()) out.memory.most_bytes = parse_memory_budget(options.max_memory);
  out.memory.context = options.max_context;
  out.memory.cache_tokens = options.cache_tokens;
  out.shares_prefixes = options.share_prefixes;
  out.most_waiting = options.max_waiting;
  return out;
}

class ModelEngine : public Engine {
 public:
  ModelEngine(const EngineOptions& options, const Context& context)
      : context_(context),
        options_(runtime_options(options)),
        session_(options.model, options.hub, context, format::KeptForm::All),
        process_bytes_(uint64_t(current_rss_bytes())),
        plan_(plan(stored_bytes())),
        runner_(*session_.model, session_.weights, context),
        engine_(runner_, &session_.tokenizer, plan_ = plan(bytes_since()), options_) {}

  std::optional<runtime::RequestId> submit(runtime::Request request, runtime::EventSink sink) override {
    return engine_.submit(std::move(request), std::move(sink));
  }
  void cancel(runtime::RequestId request) override { engine_.cancel(request); }
  bool step() override {
    return api::guard(context_, [this] { return engine_.step(); });
  }
  void wait(std::chrono::milliseconds most) override { engine_.wait(most); }

  std::vector<int64_t> encode(const std::string& text, bool special_tokens) const override {
    return session_.tokenizer.encode(text, special_tokens);
  }
  std::string decode(const std::vector<int64_t>& ids, bool skip_special_tokens) const override {
    return session_.tokenizer.decode(ids, skip_special_tokens);
  }
  bool has_chat_template() const override { return session_.tokenizer.has_chat_template(); }
  std::vector<int64_t> encode_chat(const Json& messages) const override {
    return session_.tokenizer.encode(session_.tokenizer.apply_chat_template(messages, true), false);
  }
  std::string render_chat(const Json& messages, const Json& variables, bool add_generation_prompt) const override {
    data::ChatOptions options;
    options.add_generation_prompt = add_generation_prompt;
    options.variables = variables;
    return session_.tokenizer.apply_chat_template(messages, options);
  }
  bool chat_template_mentions(const std::string& word) const override {
    return session_.tokenizer.chat_template_mentions(word);
  }
  std::vector<std::string> pieces(const std::vector<int64_t>& ids) const override {
    data::TextStream text(session_.tokenizer, false);
    std::vector<std::string> out;
    for (const int64_t id : ids) out.push_back(text.push(id));
    if (!out.empty()) out.back() += text.finish();
    return out;
  }

  Json describe() const override {
    Json out = Json::object();
    out.set("plan", plan_.to_json());
    out.set("model_type", session_.model->program().architecture);
    out.set("vocabulary", session_.model->vocabulary_size());
    out.set("hidden_size", session_.model->hidden_size());
    if (const uint64_t bytes = token_weight_bytes(); bytes > 0) out.set("token_weight_bytes", bytes);
    return out;
  }
  Json stats() const override {
    const runtime::EngineStats now = engine_.stats();
    Json out = Json::object();
    out.set("running", now.running);
    out.set("waiting", now.waiting);
    out.set("cache_blocks", now.blocks);
    out.set("cache_blocks_free", now.free);
    out.set("cache_blocks_kept", now.kept);
    out.set("steps", now.steps);
    out.set("requests", now.requests);
    out.set("prompt_tokens", now.prompt_tokens);
    out.set("cached_tokens", now.cached_tokens);
    out.set("new_tokens", now.new_tokens);
    out.set("preemptions", now.preemptions);
    out.set("drafted_tokens", now.drafted);
    out.set("accepted_tokens", now.accepted);
    return out;
  }

 private:
  // All but the embedding's rows of other tokens; 0 for a mixture, of which each token reads its own experts.
  uint64_t token_weight_bytes() const {
    const graph::ModelProgram& program = session_.model->program();
    for (const graph::BlockProgram& block : program.blocks) {
      for (const graph::Node& node : block.nodes) {
        if (std::holds_alternative<graph::ExpertsNode>(node)) return 0;
      }
    }
    uint64_t embedding = 0;
    for (const io::TensorSpec& tensor : session_.reader.tensors()) {
      if (!program.tied_embeddings && tensor.name.starts_with(program.embedding.name))
        embedding = io::data_bytes(tensor);
    }
    return plan_.weight_bytes > embedding ? plan_.weight_bytes - embedding : 0;
  }
  runtime::MemoryPlan plan(uint64_t weight_bytes) const {
    runtime::check_continues_text(session_.model->program());
    const model::CacheLayout layout = model::cache_layout(session_.model->program(), options_.cache_format);
    return runtime::plan_memory(*session_.model, layout, options_.schedule, options_.memory, process_bytes_,
                                weight_bytes);
  }
  // What the model takes at least, before a weight is loaded.
  uint64_t stored_bytes() const {
    uint64_t bytes = 0;
    for (const io::TensorSpec& tensor : session_.reader.tensors()) bytes += io::data_bytes(tensor);
    return bytes;
  }
  // What it takes: its weights have all been read by then, those that stay pages of the file too.
  uint64_t bytes_since() const {
    const auto now = uint64_t(current_rss_bytes());
    return now > process_bytes_ ? now - process_bytes_ : 0;
  }

  const Context context_;
  const runtime::EngineOptions options_;
  const api::ModelSession session_;
  const uint64_t process_bytes_;
  runtime::MemoryPlan plan_;
  const runtime::ModelRunner runner_;
  runtime::Engine engine_;
};

}  // namespace

std::unique_ptr<Engine> open_engine(const EngineOptions& options, const Context& context) {
  return api::guard(context, [&] { return std::make_unique<ModelEngine>(options, context); });
}

}  // namespace swage
