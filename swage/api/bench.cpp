#include <ATen/Parallel.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "swage/api/guard.h"
#include "swage/base/memory.h"
#include "swage/kernels/vector_set.h"
#include "swage/plan/rates.h"

namespace swage {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kReadBytes = int64_t{1} << 28;  // no cache holds them
constexpr double kRateSeconds = 1;                // that measuring the machine's products may take

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The value that a share of them does not exceed.
double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const size_t at = std::min(values.size() - 1, size_t(share * double(values.size())));
  std::nth_element(values.begin(), values.begin() + ptrdiff_t(at), values.end());
  return values[at];
}

Json times(const std::vector<double>& seconds) {
  Json out = Json::object();
  out.set("p50", quantile(seconds, 0.5));
  out.set("p90", quantile(seconds, 0.9));
  out.set("p99", quantile(seconds, 0.99));
  out.set("most", quantile(seconds, 1));
  return out;
}

Json spread(const std::vector<double>& rates) {
  Json out = Json::object();
  out.set("median", quantile(rates, 0.5));
  out.set("least", quantile(rates, 0));
  out.set("most", quantile(rates, 1));
  return out;
}

// Bytes a second that all threads read together, looking for a byte that is not there: the best of several times.
double read_rate() {
  const at::Tensor bytes = at::ones({kReadBytes}, at::kByte);
  const auto* from = bytes.const_data_ptr<uint8_t>();
  double best = 0;
  for (int time = 0; time < 5; ++time) {
    std::atomic<int> found = 0;
    const Clock::time_point start = Clock::now();
    at::parallel_for(0, kReadBytes, kReadBytes / at::get_num_threads(), [&](int64_t first, int64_t last) {
      found += std::memchr(from + first, 0, size_t(last - first)) != nullptr;
    });
    best = std::max(best, found == 0 ? double(kReadBytes) / since(start) : 0);
  }
  return best;
}

// What was seen of one batch.
struct Seen {
  double prompt_rate = 0, decode_rate = 0;  // tokens a second
  std::vector<double> first_seconds;        // until each answer's first token
  std::vector<double> token_seconds;        // of the steps after all answers had begun
};

// A batch of requests whose prompts are all different.
class Batch {
 public:
  Batch(Engine& engine, const Context& context, int64_t vocabulary, int64_t size, int64_t prompt_tokens)
      : engine_(engine),
        context_(context) {
    uint64_t state = context.seed;
    for (int64_t i = 0; i < size; ++i) {
      prompts_.emplace_back();
      for (int64_t t = 0; t < prompt_tokens; ++t) {
        state = state * 6364136223846793005u + 1442695040888963407u;  // Knuth's
        prompts_.back().push_back(int64_t((state >> 33) % uint64_t(vocabulary)));
      }
    }
  }

  Seen run(int64_t new_tokens) {
    Seen out;
    const double prompt_seconds = answer(1, out);
    out.prompt_rate = double(prompts_.size() * prompts_[0].size()) / prompt_seconds;
    out.first_seconds.clear();
    if (new_tokens > 1) answer(new_tokens, out);
    return out;
  }

 private:
  // Returns the time it took.
  double answer(int64_t new_tokens, Seen& out) {
    size_t begun = 0;
    int64_t made = 0;
    const Clock::time_point start = Clock::now();
    for (const std::vector<int64_t>& prompt : prompts_) {
      runtime::Request request;
      request.prompt = prompt;
      request.max_new_tokens = new_tokens;
      request.ignore_end = true;
      bool is_first = true;
      const auto id = engine_.submit(std::move(request), [&, is_first](runtime::Event&& event) mutable {
        SWAGE_CHECK(event.error.empty(), Internal, "bench: ", event.error);
        made += int64_t(event.tokens.size());
        if (!is_first || event.tokens.empty()) return;
        is_first = false;
        ++begun;
        out.first_seconds.push_back(since(start));
      });
      SWAGE_CHECK(id.has_value(), Internal, "bench: the engine takes no more requests");
    }
    decode(begun, made, out);
    return since(start);
  }

  void decode(const size_t& begun, const int64_t& made, Seen& out) {
    int64_t before = -1;
    Clock::time_point all_begun;
    bool busy = true;
    while (busy) {
      context_.check_cancelled();
      const Clock::time_point start = Clock::now();
      busy = engine_.step();
      if (before >= 0) out.token_seconds.push_back(since(start));
      if (before < 0 && begun == prompts_.size()) before = made, all_begun = Clock::now();
    }
    if (made > before) out.decode_rate = double(made - before) / since(all_begun);
  }

  Engine& engine_;
  const Context& context_;
  std::vector<std::vector<int64_t>> prompts_;
};

void check(const BenchOptions& options) {
  const auto all_positive = [](const std::vector<int64_t>& values) {
    return !values.empty() && *std::min_element(values.begin(), values.end()) > 0;
  };
  SWAGE_CHECK(all_positive(options.batches) && all_positive(options.prompt_tokens) && options.new_tokens > 0 &&
                  options.repeats > 0,
              InvalidArgument, "bench: batches, prompt tokens, new tokens and repeats are numbers from 1 on");
}

class Bench {
 public:
  Bench(const BenchOptions& options, const Context& context) : options_(options), context_(context) {}

  Json run() {
    check(options_);
    start_ = Clock::now();
    EngineOptions how = options_.engine;
    const int64_t most = *std::max_element(options_.batches.begin(), options_.batches.end());
    const int64_t longest =
        *std::max_element(options_.prompt_tokens.begin(), options_.prompt_tokens.end()) + options_.new_tokens;
    how.max_sequences = most;
    how.max_waiting = std::max(how.max_waiting, most);
    how.share_prefixes = false;
    if (how.cache_tokens == 0) how.cache_tokens = most * (longest + 16);  // blocks of 16 that are not full
    machine_ = machine();
    reset_peak_rss();
    progress("loading", 0);
    const Clock::time_point load = Clock::now();
    const std::unique_ptr<Engine> engine = open_engine(how, context_);
    Json out = Json::object();
    out.set("model", options_.engine.model);
    out.set("load_seconds", since(load));
    description_ = engine->describe();
    Json runs = Json::array();
    for (const int64_t prompt : options_.prompt_tokens) {
      for (const int64_t batch : options_.batches) runs.push_back(of(*engine, batch, prompt));
    }
    out.set("runs", std::move(runs));
    out.set("new_tokens", options_.new_tokens);
    out.set("repeats", options_.repeats);
    out.set("kv_cache_type", options_.engine.kv_cache_type);
    for (const char* key : {"plan", "model_type", "token_weight_bytes"}) {
      if (const Json* value = description_.find(key)) out.set(key, *value);
    }
    out.set("machine", machine_);
    out.set("peak_rss_bytes", peak_rss_bytes());
    return out;
  }

 private:
  Json machine() {
    progress("measuring the machine", 0);
    const pipeline::Rates rates = pipeline::measure_rates({}, {.copy = 1, .disk = 1}, kRateSeconds);
    Json out = Json::object();
    out.set("threads", at::get_num_threads());
    out.set("instructions", kernels::vector_set());
    out.set("read_bytes_per_second", read_rate());
    out.set("f32_product_flops_per_second", rates.gemm);
    out.set("integer_product_flops_per_second", rates.integer);
    return out;
  }

  Json of(Engine& engine, int64_t batch, int64_t prompt) {
    std::vector<double> prompt_rates, decode_rates, first, token;
    Batch requests(engine, context_, description_.at("vocabulary").as_int(), batch, prompt);
    for (int64_t repeat = 0; repeat < options_.repeats; ++repeat) {
      progress(cat("batch ", batch, ", prompt ", prompt), prompt_rates.empty() ? 0 : prompt_rates.back());
      Seen seen = requests.run(options_.new_tokens);
      prompt_rates.push_back(seen.prompt_rate);
      decode_rates.push_back(seen.decode_rate);
      first.insert(first.end(), seen.first_seconds.begin(), seen.first_seconds.end());
      token.insert(token.end(), seen.token_seconds.begin(), seen.token_seconds.end());
      ++done_;
    }
    Json out = Json::object();
    out.set("batch", batch);
    out.set("prompt_tokens", prompt);
    out.set("prompt_tokens_per_second", spread(prompt_rates));
    if (options_.new_tokens > 1) {
      out.set("decode_tokens_per_second", spread(decode_rates));
      out.set("first_token_seconds", times(first));
      out.set("token_seconds", times(token));
      const Json* bytes = description_.find("token_weight_bytes");
      const double read = machine_.at("read_bytes_per_second").as_double();
      const double steps = quantile(decode_rates, 0.5) / double(batch);
      if (bytes != nullptr && read > 0) out.set("read_share", steps * bytes->as_double() / read);
    }
    out.set("peak_rss_bytes", peak_rss_bytes());
    return out;
  }

  void progress(const std::string& stage, double rate) {
    const int64_t all = options_.repeats * int64_t(options_.batches.size() * options_.prompt_tokens.size());
    ProgressEvent event;
    event.stage = cat(stage, " (", done_, " of ", all, " done)");
    event.milestone = true;
    event.tokens_per_second = rate;
    event.elapsed_seconds = since(start_);
    event.rss_bytes = current_rss_bytes();
    context_.progress(event);
  }

  const BenchOptions& options_;
  const Context& context_;
  Clock::time_point start_;
  Json description_, machine_;
  int64_t done_ = 0;
};

}  // namespace

Json bench(const BenchOptions& options, const Context& context) {
  return api::guard(context, [&] { return Bench(options, context).run(); });
}

}  // namespace swage
