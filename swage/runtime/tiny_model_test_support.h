// For tests only: models of random weights, of each family that tests/data/model/architectures.json has a config of.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/model/model.h"
#include "swage/runtime/engine.h"

namespace swage::runtime {

inline std::string text_of_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::map<std::string, Json> configs() {
  const std::filesystem::path path = std::filesystem::path(SWAGE_TEST_DATA) / "model" / "architectures.json";
  std::map<std::string, Json> out;
  const Json all = parse_json(text_of_file(path), path.string());
  for (const auto& [name, config] : all.as_object()) out.emplace(name, config);
  return out;
}

class InMemory : public checkpoint::WeightSource {
 public:
  std::vector<int64_t> shape(const std::string& name) const override {
    const auto found = tensors.find(name);
    return found == tensors.end() ? std::vector<int64_t>() : found->second.sizes().vec();
  }
  at::Tensor load(const std::string& name) const override { return tensors.at(name); }
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string&) const override { return {}; }
  void prefetch(const std::vector<std::string>&) const override {}

  std::map<std::string, at::Tensor> tensors;
};

struct TinyModel {
  explicit TinyModel(const Json& config) {
    at::manual_seed(5);
    for (const io::TensorSpec& spec : model::make_model(config, weights)->required_tensors()) {
      const bool matrix = spec.shape.size() > 1, bias = spec.name.ends_with("bias");
      weights.tensors[spec.name] = matrix ? at::randn(spec.shape).mul_(0.3)
                                   : bias ? at::randn(spec.shape).mul_(0.1)
                                          : at::rand(spec.shape).add_(0.5);
    }
    model = model::make_model(config, weights);
    runner = std::make_unique<ModelRunner>(*model, weights, Context());
  }

  InMemory weights;
  std::unique_ptr<model::Model> model;
  std::unique_ptr<ModelRunner> runner;
};

// A plan of so many blocks, whatever the machine has.
inline MemoryPlan plan_of(const ModelRunner& runner, int64_t blocks, int64_t context = 1024,
                          kernels::CacheFormat format = kernels::CacheFormat::F32) {
  const model::CacheLayout layout = model::cache_layout(runner.model().program(), format);
  MemoryPlan plan;
  plan.state_blocks = CachePool::state_blocks(layout);
  plan.blocks = blocks + plan.state_blocks;
  plan.block_bytes = CachePool::block_bytes(layout);
  plan.context = std::min(context, layout.block_bytes > 0 ? blocks * kBlockTokens : context);
  if (runner.model().max_positions() > 0) plan.context = std::min(plan.context, runner.model().max_positions());
  return plan;
}

// All that came of a request.
struct Answer {
  std::vector<int64_t> ids;
  std::vector<TokenInfo> tokens;
  std::string text, error;
  std::optional<Finish> finish;
  Event last;
  int events = 0;

  void take(Event&& event) {
    ++events;
    text += event.text;
    for (const TokenInfo& token : event.tokens) ids.push_back(token.id);
    tokens.insert(tokens.end(), event.tokens.begin(), event.tokens.end());
    EXPECT_FALSE(finish.has_value()) << "news behind the end";
    if (event.finish) finish = event.finish;
    if (!event.error.empty()) error = event.error;
    last = std::move(event);
  }
};
using Answers = std::map<int64_t, Answer>;  // by choice

inline EventSink into(Answers& answers) {
  return [&answers](Event&& event) { answers[event.choice].take(std::move(event)); };
}

// By an engine that has nothing else to do.
inline Answers alone(const ModelRunner& runner, const Request& request, const data::Tokenizer* tokenizer = nullptr,
                     int64_t context = 1024, kernels::CacheFormat format = kernels::CacheFormat::F32) {
  EngineOptions options;
  options.cache_format = format;
  options.schedule.step_tokens = 4096;
  options.shares_prefixes = false;
  Engine engine(runner, tokenizer, plan_of(runner, 256, context, format), options);
  Answers answers;
  EXPECT_TRUE(engine.submit(request, into(answers)).has_value());
  while (engine.step()) {
  }
  return answers;
}

}  // namespace swage::runtime
