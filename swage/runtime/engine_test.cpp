// The engine's promise: a sequence's tokens are the same bits whatever happens around it.
#include "swage/runtime/engine.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "swage/base/error.h"
#include "swage/checkpoint/reader.h"
#include "swage/runtime/tiny_model_test_support.h"

namespace swage::runtime {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const Json& llama() {
  static const Json config = configs().at("llama31");
  return config;
}

Request random_request(std::mt19937& random, int64_t vocabulary, int64_t longest, int64_t most_new) {
  const auto below = [&](int64_t bound) { return int64_t(random() % uint64_t(bound)); };
  Request out;
  // Some begin alike, so that prefixes are shared.
  std::mt19937 common(uint32_t(below(3)));
  const int64_t shared = below(longest), own = 1 + below(longest / 2);
  for (int64_t i = 0; i < shared; ++i) out.prompt.push_back(int64_t(common() % uint64_t(vocabulary)));
  for (int64_t i = 0; i < own; ++i) out.prompt.push_back(below(vocabulary));
  out.max_new_tokens = 1 + below(most_new);
  if (below(2) == 0) {
    out.sampling.temperature = 1.1;
    out.sampling.top_p = 0.95;
    out.sampling.repetition_penalty = 1.1;
    out.sampling.presence_penalty = 0.3;
    out.sampling.seed = uint64_t(below(1000));
  }
  out.choices = below(4) == 0 ? 2 : 1;
  out.logprobs = true;
  out.client = below(2) == 0 ? "a" : "b";
  if (below(2) == 0) {
    out.draft_tokens = 4;
    out.sampling.logit_bias = {{3, 20}, {4, 20}};  // or a random model would never repeat itself
  }
  return out;
}

void expect_same(const Answers& found, const Answers& expected, const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (const auto& [choice, answer] : expected) {
    const Answer& other = found.at(choice);
    EXPECT_EQ(other.ids, answer.ids) << what << ", choice " << choice;
    EXPECT_EQ(other.finish, answer.finish) << what << " " << other.error;
    ASSERT_EQ(other.tokens.size(), answer.tokens.size());
    for (size_t i = 0; i < answer.tokens.size(); ++i)
      EXPECT_EQ(other.tokens[i].logprob, answer.tokens[i].logprob) << what << ", token " << i;
  }
}

struct Load {
  int64_t requests, longest, most_new, blocks, step_tokens, most_sequences;
  int cancelled_in;  // one of so many is cancelled; 0: none
  kernels::CacheFormat format = kernels::CacheFormat::F32;
};

struct Outcome {
  uint64_t preemptions = 0, cached_tokens = 0, accepted = 0;
};

// Random requests come while others run; some are cancelled. Each one that is not equals its answer alone.
Outcome run_load(const ModelRunner& runner, const Load& load, unsigned seed) {
  std::mt19937 random(seed);
  const MemoryPlan plan = plan_of(runner, load.blocks, 1024, load.format);
  EngineOptions options;
  options.schedule = {load.step_tokens, load.most_sequences};
  options.cache_format = load.format;
  Engine engine(runner, nullptr, plan, options);
  std::vector<Request> requests;
  std::vector<Answers> answers(static_cast<size_t>(load.requests));
  std::vector<RequestId> ids;
  std::vector<bool> cancelled(static_cast<size_t>(load.requests), false);
  bool busy = true;
  while (busy || int64_t(requests.size()) < load.requests) {
    for (uint64_t more = random() % 3; more > 0 && int64_t(requests.size()) < load.requests; --more) {
      requests.push_back(random_request(random, runner.model().vocabulary_size(), load.longest, load.most_new));
      ids.push_back(engine.submit(requests.back(), into(answers[requests.size() - 1])).value());
    }
    if (load.cancelled_in > 0 && !ids.empty() && random() % uint64_t(load.cancelled_in) == 0) {
      const size_t which = random() % ids.size();
      engine.cancel(ids[which]);
      cancelled[which] = true;
    }
    busy = engine.step();
    const EngineStats stats = engine.stats();
    EXPECT_LE(stats.running, load.most_sequences);
  }
  const EngineStats stats = engine.stats();
  EXPECT_EQ(stats.free + stats.kept, stats.blocks) << "blocks leak";
  EXPECT_EQ(stats.running + stats.waiting, 0);
  for (size_t i = 0; i < requests.size(); ++i) {
    const bool was_cancelled = std::any_of(answers[i].begin(), answers[i].end(),
                                           [](const auto& one) { return one.second.finish == Finish::Cancelled; });
    if (was_cancelled) {
      EXPECT_TRUE(cancelled[i]);
      continue;
    }
    Request request = requests[i];
    request.draft_tokens = 0;
    expect_same(answers[i], alone(runner, request, nullptr, plan.context, load.format), cat("request ", i));
  }
  return {stats.preemptions, stats.cached_tokens, stats.accepted};
}

TEST(Engine, HundredsOfRequestsEqualTheirAnswersAlone) {
  at::set_num_threads(1);
  const TinyModel tiny(llama());
  const Outcome crowded = run_load(*tiny.runner, {200, 40, 24, 7, 9, 6, 20}, 1);
  EXPECT_GT(crowded.preemptions, 10u);  // or the load does not test them
  EXPECT_GT(crowded.cached_tokens, 100u);
  const Outcome roomy = run_load(*tiny.runner, {100, 60, 24, 200, 64, 16, 30}, 2);
  EXPECT_EQ(roomy.preemptions, 0u);
  EXPECT_GT(roomy.accepted, 20u);
}

// The same with as many threads as there are.
TEST(Engine, ThreadsChangeNothing) {
  at::set_num_threads(2);
  const TinyModel tiny(llama());
  run_load(*tiny.runner, {20, 40, 12, 20, 32, 6, 0}, 3);
  at::set_num_threads(1);
}

// Codes of each token are its own.
TEST(Engine, CachesOfCodesChangeNothingBetweenBatches) {
  at::set_num_threads(1);
  const TinyModel tiny(llama());
  for (const kernels::CacheFormat format : {kernels::CacheFormat::Int8, kernels::CacheFormat::E4M3})
    run_load(*tiny.runner, {40, 40, 16, 9, 11, 6, 20, format}, 5);
}

class EveryArchitecture : public testing::TestWithParam<std::string> {};

// States of recurrences, windows, chunks, experts, several kinds of rotary embedding.
TEST_P(EveryArchitecture, AnswersEqualThoseAlone) {
  at::set_num_threads(1);
  const Json config = configs().at(GetParam());
  const auto program = model::make_program(config, InMemory());
  if (program.predicts != graph::Predicts::Next || program.target) {
    EXPECT_THROW(check_continues_text(program), Error);
    return;
  }
  const TinyModel tiny(config);
  run_load(*tiny.runner, {8, 24, 8, 5, 11, 4, 0}, 4);
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& [name, config] : configs()) out.push_back(name);
  return out;
}
INSTANTIATE_TEST_SUITE_P(All, EveryArchitecture, testing::ValuesIn(names()), [](const auto& info) {
  std::string name = info.param;
  std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
});

Request simple(std::vector<int64_t> prompt, int64_t tokens) {
  Request out;
  out.prompt = std::move(prompt);
  out.max_new_tokens = tokens;
  return out;
}

std::vector<int64_t> counted(int64_t tokens) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < tokens; ++i) out.push_back(i * 7 % 50);
  return out;
}

TEST(Engine, APrefixThatIsThereIsNotComputedAgain) {
  const TinyModel tiny(llama());
  Engine engine(*tiny.runner, nullptr, plan_of(*tiny.runner, 64), {});
  Answers first, second;
  engine.submit(simple(counted(40), 10), into(first));
  while (engine.step()) {
  }
  std::vector<int64_t> longer = counted(40);
  longer.insert(longer.end(), first[0].ids.begin(), first[0].ids.end());
  engine.submit(simple(longer, 5), into(second));
  while (engine.step()) {
  }
  EXPECT_EQ(first[0].last.cached_tokens, 0);
  EXPECT_EQ(second[0].last.cached_tokens, 48);  // three blocks, the last of them with what was made
  expect_same(second, alone(*tiny.runner, simple(longer, 5)), "the longer prompt");
}

TEST(Engine, CancelledRequestsGiveTheirBlocksBackBeforeTheNextStep) {
  const TinyModel tiny(llama());
  EngineOptions options;
  options.shares_prefixes = false;
  Engine engine(*tiny.runner, nullptr, plan_of(*tiny.runner, 16), options);
  Answers answers;
  const RequestId id = engine.submit(simple(counted(60), 100), into(answers)).value();
  engine.step();
  EXPECT_LT(engine.stats().free, 16);
  engine.cancel(id);
  engine.cancel(id + 7);  // unknown
  EXPECT_FALSE(engine.step());
  EXPECT_EQ(engine.stats().free, 16);
  EXPECT_EQ(answers[0].finish, Finish::Cancelled);
}

TEST(Engine, AListenerThatThrowsEndsItsRequestAlone) {
  const TinyModel tiny(llama());
  Engine engine(*tiny.runner, nullptr, plan_of(*tiny.runner, 64), {});
  Answers other;
  int calls = 0;
  engine.submit(simple(counted(5), 50), [&](Event&&) {
    ++calls;
    throw std::runtime_error("gone");
  });
  engine.submit(simple(counted(6), 8), into(other));
  while (engine.step()) {
  }
  EXPECT_EQ(calls, 1);
  expect_same(other, alone(*tiny.runner, simple(counted(6), 8)), "the other one");
  EXPECT_EQ(engine.stats().free + engine.stats().kept, 64);
}

// A client with many requests does not keep another one's single request waiting behind all of them.
TEST(Engine, ClientsTakeTurns) {
  const TinyModel tiny(llama());
  EngineOptions options;
  options.schedule = {64, 2};
  Engine engine(*tiny.runner, nullptr, plan_of(*tiny.runner, 64), options);
  std::vector<int> order;
  for (int i = 0; i < 10; ++i) {
    Request request = simple(counted(10), 5);
    request.client = "many";
    engine.submit(request, [&order, i](Event&& event) {
      if (event.finish) order.push_back(i);
    });
  }
  Request single = simple(counted(10), 5);
  single.client = "one";
  engine.submit(single, [&order](Event&& event) {
    if (event.finish) order.push_back(100);
  });
  while (engine.step()) {
  }
  const auto place = std::find(order.begin(), order.end(), 100) - order.begin();
  EXPECT_LT(place, 4);
  EXPECT_EQ(order.size(), 11u);
}

TEST(Engine, ChoicesDrawFromStreamsOfTheirOwn) {
  const TinyModel tiny(llama());
  Request request = simple(counted(20), 12);
  request.sampling.temperature = 1.5;
  request.choices = 3;
  const Answers three = alone(*tiny.runner, request);
  ASSERT_EQ(three.size(), 3u);
  EXPECT_NE(three.at(0).ids, three.at(1).ids);
  request.choices = 1;
  EXPECT_EQ(alone(*tiny.runner, request).at(0).ids, three.at(0).ids);
}

TEST(Engine, TheBestOfSeveralIsTheLikeliest) {
  const TinyModel tiny(llama());
  Request request = simple(counted(20), 6);
  request.sampling.temperature = 2;
  request.choices = 5;
  request.logprobs = true;
  const Answers all = alone(*tiny.runner, request);
  const auto mean = [](const Answer& answer) {
    double sum = 0;
    for (const TokenInfo& token : answer.tokens) sum += token.logprob;
    return sum / double(answer.tokens.size());
  };
  double best = -1e9;
  for (const auto& [choice, answer] : all) best = std::max(best, mean(answer));
  request.choices = 1;
  request.best_of = 5;
  const Answers one = alone(*tiny.runner, request);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one.at(0).events, 1);
  EXPECT_DOUBLE_EQ(mean(one.at(0)), best);
}

// Every token's probability given those before it, whatever the steps and although others share the prompt.
TEST(Engine, PromptsAreScored) {
  const TinyModel tiny(llama());
  Request request = simple(counted(50), 0);
  request.prompt_logprobs = true;
  request.top_logprobs = 2;
  EngineOptions options;
  options.schedule = {16, 4};
  Engine engine(*tiny.runner, nullptr, plan_of(*tiny.runner, 64), options);
  Answers warm, scored;
  engine.submit(simple(counted(50), 1), into(warm));
  while (engine.step()) {
  }
  engine.submit(request, into(scored));
  while (engine.step()) {
  }
  const std::vector<TokenInfo>& prompt = scored[0].last.prompt;
  ASSERT_EQ(prompt.size(), 50u);
  EXPECT_EQ(scored[0].last.new_tokens, 0);
  const model::CacheLayout layout = model::cache_layout(tiny.model->program(), kernels::CacheFormat::F32);
  at::Tensor hidden_TD = tiny.model->embed(at::tensor(request.prompt, at::kLong), 0);
  for (int64_t b = 0; b < tiny.model->blocks(); ++b) {
    model::Flow flow{.hidden_TD = hidden_TD};
    tiny.model->load_block(b, tiny.weights)->forward(flow);
    hidden_TD = flow.hidden_TD;
  }
  const at::Tensor expected_TV = at::log_softmax(tiny.model->logits(hidden_TD).to(at::kDouble), -1);
  for (int64_t i = 1; i < 50; ++i) {
    EXPECT_EQ(prompt[size_t(i)].id, request.prompt[size_t(i)]);
    EXPECT_NEAR(prompt[size_t(i)].logprob, expected_TV[i - 1][request.prompt[size_t(i)]].item<double>(), 1e-4);
    EXPECT_EQ(prompt[size_t(i)].top.size(), 2u);
    EXPECT_NEAR(prompt[size_t(i)].top[0].second, expected_TV[i - 1].max().item<double>(), 1e-4);
  }
}

// What is guessed right comes in one step with the token before; what is guessed wrong leaves nothing behind.
TEST(Engine, GuessesMakeTheSameTextInFewerSteps) {
  at::set_num_threads(1);
  const TinyModel tiny(llama());
  for (const double temperature : {0.0, 0.7}) {
    Request request = simple({1, 2, 3, 4, 5, 6, 1, 2, 3}, 100);
    request.sampling.temperature = temperature;
    request.sampling.logit_bias = {{3, 20}, {4, 20}};  // or a random model would never repeat itself
    request.logprobs = true;
    const Answers expected = alone(*tiny.runner, request);
    request.draft_tokens = 6;
    EngineOptions options;
    Engine engine(*tiny.runner, nullptr, plan_of(*tiny.runner, 64), options);
    Answers found;
    engine.submit(request, into(found));
    while (engine.step()) {
    }
    expect_same(found, expected, cat("temperature ", temperature));
    const EngineStats stats = engine.stats();
    EXPECT_EQ(stats.steps + stats.accepted, 100u);
    EXPECT_LT(stats.accepted, stats.drafted);
    EXPECT_GT(stats.accepted, 10u);
  }
}

// What a window has left is given back: a text far longer than the cache, as it would be with all of its keys.
TEST(Engine, WindowsBoundTheMemoryOfASequence) {
  at::set_num_threads(1);
  for (const char* name : {"mistral", "phi3_short", "starcoder2"}) {
    Json config = configs().at(name);
    config.set("max_position_embeddings", 1024);
    const TinyModel tiny(config);
    const model::CacheLayout layout = model::cache_layout(tiny.model->program(), kernels::CacheFormat::F32);
    ASSERT_EQ(layout.reach, 7) << name;  // a window of 8
    EngineOptions options;
    options.schedule = {16, 2};
    MemoryPlan plan = plan_of(*tiny.runner, 8);
    plan.context = 600;
    Engine engine(*tiny.runner, nullptr, plan, options);
    Request request = simple(counted(150), 300);
    request.logprobs = true;
    std::vector<Answers> answers(2);
    for (Answers& one : answers) engine.submit(request, into(one));
    const int64_t most = CachePool::most_blocks(layout, 450, 16);
    EXPECT_LE(most, 4);
    while (engine.step()) {
      const EngineStats stats = engine.stats();
      EXPECT_LE(stats.blocks - stats.free - stats.kept, 2 * most) << name;
    }
    EXPECT_EQ(engine.stats().free + engine.stats().kept, 8);
    std::vector<int64_t> ids = request.prompt;
    ids.insert(ids.end(), answers[0][0].ids.begin(), answers[0][0].ids.end());
    EXPECT_EQ(answers[0][0].finish, Finish::Length) << answers[0][0].error;
    EXPECT_EQ(answers[0][0].ids, answers[1][0].ids);
    at::Tensor hidden_TD = tiny.model->embed(at::tensor(ids, at::kLong), 0);
    for (int64_t b = 0; b < tiny.model->blocks(); ++b) {
      model::Flow flow{.hidden_TD = hidden_TD};
      tiny.model->load_block(b, tiny.weights)->forward(flow);
      hidden_TD = flow.hidden_TD;
    }
    const at::Tensor expected_TV = at::log_softmax(tiny.model->logits(hidden_TD).to(at::kDouble), -1);
    for (int64_t i = 0; i < 300; ++i)
      EXPECT_NEAR(answers[0][0].tokens[size_t(i)].logprob,
                  expected_TV[149 + i][answers[0][0].ids[size_t(i)]].item<double>(), 1e-4)
          << name << ", token " << i;
  }
}

TEST(Engine, RequestsThatMakeNoSenseAreRefusedByField) {
  const TinyModel tiny(llama());
  Engine engine(*tiny.runner, nullptr, plan_of(*tiny.runner, 2), {});
  const auto refused = [&](auto change, const std::string& field) {
    Request request = simple(counted(4), 4);
    change(request);
    try {
      engine.submit(request, {});
      ADD_FAILURE() << field;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
      EXPECT_THAT(e.what(), HasSubstr(field));
    }
  };
  refused([](Request& r) { r.prompt.clear(); }, "prompt is empty");
  refused([](Request& r) { r.prompt = counted(32); }, "the prompt has 32 tokens, the model takes fewer than 32");
  refused([](Request& r) { r.prompt[1] = -1; }, "token id -1");
  refused([](Request& r) { r.max_new_tokens = 0; }, "max_new_tokens 0");
  refused([](Request& r) { r.choices = 0; }, "n 0");
  refused([](Request& r) { r.choices = 3, r.best_of = 2; }, "best_of 2");
  refused([](Request& r) { r.draft_tokens = 33; }, "draft_tokens 33");
  refused([](Request& r) { r.stops = {"x"}; }, "stop string");
  refused([](Request& r) { r.top_logprobs = -1; }, "top_logprobs -1");
  refused([](Request& r) { r.sampling.top_p = 0; }, "top_p 0");
  refused([](Request& r) { r.sampling.temperature = -1; }, "temperature -1");
}

TEST(Engine, TakesNoMoreThanMayWait) {
  const TinyModel tiny(llama());
  EngineOptions options;
  options.most_waiting = 2;
  Engine engine(*tiny.runner, nullptr, plan_of(*tiny.runner, 8), options);
  EXPECT_TRUE(engine.submit(simple(counted(4), 4), {}).has_value());
  EXPECT_TRUE(engine.submit(simple(counted(4), 4), {}).has_value());
  EXPECT_FALSE(engine.submit(simple(counted(4), 4), {}).has_value());
  EXPECT_EQ(engine.stats().waiting, 2);
}

// Several threads ask and cancel while one computes.
TEST(Engine, RequestsComeFromAnyThread) {
  at::set_num_threads(1);
  const TinyModel tiny(llama());
  Engine engine(*tiny.runner, nullptr, plan_of(*tiny.runner, 20), {});
  std::atomic<int> open = 0, finished = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        ++open;
        const auto id =
            engine.submit(simple(counted(5 + t), 6), [&](Event&& event) { finished += event.finish.has_value(); });
        if (i % 3 == 0) engine.cancel(id.value());
      }
    });
  }
  while (finished < 40) {
    if (!engine.step()) engine.wait(std::chrono::milliseconds(20));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(open, 40);
  EXPECT_EQ(engine.stats().free + engine.stats().kept, 20);
}

// A window's cache holds sequences of any length, where a whole one's would have to be as long.
TEST(MemoryPlan, OfAWindowIsThatOfTheWindow) {
  Json config = configs().at("mistral");
  config.set("max_position_embeddings", 100000);
  const TinyModel tiny(config);
  const model::CacheLayout layout = model::cache_layout(tiny.model->program(), kernels::CacheFormat::F32);
  const MemoryPlan plan = plan_memory(*tiny.model, layout, {16, 4}, {}, 0, 2000);
  EXPECT_EQ(plan.context, 100000);
  EXPECT_EQ(plan.blocks, 4 * 4);
  const MemoryPlan asked = plan_memory(*tiny.model, layout, {16, 4}, {.context = 5000}, 0, 2000);
  EXPECT_EQ(asked.context, 5000);
  const MemoryPlan less = plan_memory(*tiny.model, layout, {16, 4}, {.cache_tokens = 20}, 0, 2000);
  EXPECT_EQ(less.context, 32);
}

TEST(MemoryPlan, FitsTheBoundOrSaysWhatItTakes) {
  const TinyModel tiny(llama());
  const model::CacheLayout layout = model::cache_layout(tiny.model->program(), kernels::CacheFormat::F32);
  const SchedulerOptions schedule{16, 4};
  const MemoryPlan free_plan = plan_memory(*tiny.model, layout, schedule, {}, 1000, 2000);
  EXPECT_EQ(free_plan.context, tiny.model->max_positions());
  EXPECT_GE(free_plan.cache_tokens, free_plan.context);
  MemoryLimits limits;
  limits.most_bytes = free_plan.peak_bytes() - 3 * uint64_t(free_plan.block_bytes);
  const MemoryPlan bound = plan_memory(*tiny.model, layout, schedule, limits, 1000, 2000);
  EXPECT_LE(bound.peak_bytes(), limits.most_bytes);
  EXPECT_EQ(bound.blocks, free_plan.blocks - 3);
  limits = {.cache_tokens = 40};
  EXPECT_EQ(plan_memory(*tiny.model, layout, schedule, limits, 0, 2000).cache_tokens, 48);
  limits = {.most_bytes = 5000};
  EXPECT_THROW(plan_memory(*tiny.model, layout, schedule, limits, 0, 2000), Error);
  limits = {.context = 1};
  EXPECT_THROW(plan_memory(*tiny.model, layout, schedule, limits, 0, 2000), Error);
  limits = {.context = 60, .cache_tokens = 20};
  EXPECT_THROW(plan_memory(*tiny.model, layout, schedule, limits, 0, 2000), Error);
}

}  // namespace
}  // namespace swage::runtime
