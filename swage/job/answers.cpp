#include "swage/job/answers.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "swage/base/error.h"
#include "swage/data/tokenizer.h"
#include "swage/format/weight_source.h"
#include "swage/ops/device.h"
#include "swage/runtime/engine.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTokens = 16;  // of an answer
constexpr int64_t kMostPromptTokens = 256;
constexpr uint64_t kSmallModel = uint64_t{64} << 20;  // fits wherever swage does
constexpr double kShare = 0.6;  // of the planned peak: the process itself and the cache are beside it
constexpr const char* kQuestion = "What is the capital of France, and what is it known for?";
constexpr const char* kBeginning = "The capital of France is";  // for models that do not chat

std::vector<int64_t> prompt_ids(const data::Tokenizer& tokenizer) {
  if (!tokenizer.has_chat_template()) return tokenizer.encode(kBeginning, true);
  Json message = Json::object(), messages = Json::array();
  message.set("role", "user");
  message.set("content", kQuestion);
  messages.push_back(std::move(message));
  return tokenizer.encode(tokenizer.apply_chat_template(messages, true), false);
}

// By the model as it is stored. Nothing if the model takes fewer tokens, or other ones.
std::optional<std::string> answer(const checkpoint::Reader& reader, const std::string& architecture,
                                  const data::Tokenizer& tokenizer, const std::vector<int64_t>& ids,
                                  const Context& context) {
  const at::Device device = ops::to_torch(context.device);
  const format::CheckpointWeights weights(reader, device, {.kept = format::KeptForm::All});
  const std::unique_ptr<model::Model> model = model::make_model(reader.config(), weights, device, architecture);
  const int64_t positions = model->max_positions(), needed = int64_t(ids.size()) + kTokens;
  if (positions > 0 && needed >= positions) return {};
  if (*std::max_element(ids.begin(), ids.end()) >= model->vocabulary_size()) return {};
  runtime::EngineOptions options;
  options.schedule.most_sequences = 1;
  options.memory = {.context = needed + 1, .cache_tokens = needed + 1};
  const runtime::ModelRunner runner(*model, weights, context);
  const model::CacheLayout layout = model::cache_layout(model->program(), options.cache_format);
  runtime::Engine engine(runner, &tokenizer,
                         runtime::plan_memory(*model, layout, options.schedule, options.memory, 0, 0), options);
  std::string text, error;
  runtime::Request request;
  request.prompt = ids;
  request.max_new_tokens = kTokens;
  engine.submit(std::move(request), [&](runtime::Event&& event) {
    text += event.text;
    error += event.error;
  });
  while (engine.step()) context.check_cancelled();
  SWAGE_CHECK(error.empty(), Internal, "self-check: an answer of ", reader.folder().string(), ": ", error);
  return text;
}

}  // namespace

bool answers_fit(const model::Model& source, const Json& config, uint64_t source_bytes, uint64_t planned_bytes) {
  if (source_bytes <= kSmallModel) return true;
  if (config.find("quantization_config") != nullptr || double(source_bytes) > kShare * double(planned_bytes))
    return false;
  for (const graph::BlockProgram& block : source.program().blocks) {
    for (const graph::LinearSpec& linear : block.linears) {
      if (linear.stored.shared() || linear.stored.transposed) return false;
    }
  }
  return true;
}

Json compare_answers(const checkpoint::Reader& source, const fs::path& output, const std::string& architecture,
                     const Context& context) {
  const data::Tokenizer tokenizer(source.folder());
  std::vector<int64_t> ids;
  try {
    ids = prompt_ids(tokenizer);
  } catch (const Error&) {  // a template that wants more than one message of a user: no reason to lose the run
    return {};
  }
  if (ids.empty() || int64_t(ids.size()) > kMostPromptTokens) return {};
  const std::optional<std::string> before = answer(source, architecture, tokenizer, ids, context);
  if (!before) return {};
  for (const io::TensorSpec& tensor : source.tensors()) source.drop(tensor.name);
  Json out = Json::object();
  out.set("prompt", tokenizer.has_chat_template() ? kQuestion : kBeginning);
  out.set("source", *before);
  out.set("output", *answer(checkpoint::Reader(output), architecture, tokenizer, ids, context));
  out.set("tokens", kTokens);
  return out;
}

}  // namespace swage::pipeline
