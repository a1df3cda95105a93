#include "swage/job/answers.h"

#include <ATen/ops/argmax.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "swage/base/error.h"
#include "swage/checkpoint/reader.h"
#include "swage/data/tokenizer.h"
#include "swage/eval/forward.h"
#include "swage/format/weight_source.h"
#include "swage/ops/device.h"

namespace swage::pipeline {
namespace {

constexpr int64_t kTokens = 16;  // of an answer
constexpr int64_t kMostPromptTokens = 256;
constexpr int64_t kManyTokens = 8192;                 // calibrating on them takes about 20 times as long
constexpr uint64_t kSmallModel = uint64_t{64} << 20;  // takes no time at all
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

// Greedy, without a cache: each token is a pass over all blocks.
std::vector<int64_t> answer(model::Model& model, const checkpoint::WeightSource& weights, std::vector<int64_t> ids,
                            const std::vector<int64_t>& ends, const Context& context) {
  const size_t prompt = ids.size();
  model.load_ends(weights);
  for (int64_t i = 0; i < kTokens; ++i) {
    std::vector<model::Flow> flows = eval::embed_rows(model, at::tensor(ids).unsqueeze(0));
    eval::run_blocks(model, weights, flows, context, [](int64_t) {});
    const at::Tensor last_TD = flows[0].hidden_TD.narrow(0, int64_t(ids.size()) - 1, 1);
    const int64_t next = at::argmax(model.logits(last_TD).squeeze(0)).item<int64_t>();
    if (std::find(ends.begin(), ends.end(), next) != ends.end()) break;
    ids.push_back(next);
  }
  model.drop_ends();
  return {ids.begin() + int64_t(prompt), ids.end()};
}

}  // namespace

bool answers_are_cheap(uint64_t source_bytes, int64_t calibration_tokens) {
  return source_bytes <= kSmallModel || calibration_tokens >= kManyTokens;
}

Json compare_answers(model::Model& source, const checkpoint::WeightSource& weights,
                     const std::filesystem::path& source_folder, const std::filesystem::path& output_folder,
                     const Context& context) {
  const data::Tokenizer tokenizer(source_folder);
  std::vector<int64_t> ids;
  try {
    ids = prompt_ids(tokenizer);
  } catch (const Error&) {  // a template that wants more than one message of a user: no reason to lose the run
    return {};
  }
  const int64_t positions = source.max_positions(), needed = int64_t(ids.size()) + kTokens;
  if (ids.empty() || needed > kMostPromptTokens || (positions > 0 && needed > positions)) return {};
  if (*std::max_element(ids.begin(), ids.end()) >= source.vocabulary_size()) return {};
  const at::Device device = ops::to_torch(context.device);
  const checkpoint::Reader reader(output_folder);
  const format::CheckpointWeights output(reader, device);
  const std::unique_ptr<model::Model> compressed =
      model::make_model(reader.config(), output, device, source.program().architecture);
  const std::vector<int64_t> ends = tokenizer.end_ids();
  Json out = Json::object();
  out.set("prompt", tokenizer.has_chat_template() ? kQuestion : kBeginning);
  out.set("source", tokenizer.decode(answer(source, weights, ids, ends, context), true));
  out.set("output", tokenizer.decode(answer(*compressed, output, ids, ends, context), true));
  out.set("tokens", kTokens);
  return out;
}

}  // namespace swage::pipeline
