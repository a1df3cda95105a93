// Where the time of a compression goes, against what the machine can do: the stages of a run of the public API, the
// share of it spent inside matrix products, their rate, and the floor T (2 P + sum n^2) / R that no run can beat (T
// tokens, P parameters of the linears, n widths of the distinct inputs, R this machine's f32 GEMM rate).
//
//   stage_bench MODEL OUT DATA [ROWS [TOKENS]]
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/record_function.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "swage/swage.h"

namespace {

using namespace swage;
using Clock = std::chrono::steady_clock;

// Nanoseconds spent inside ATen operators during the run, summed over threads.
struct Spent {
  std::string_view name;
  std::atomic<int64_t> nanoseconds = 0;
};
std::array<Spent, 4> spent = {
    {{"aten::linear"}, {"aten::addmm_"}, {"swage::integer_linear"}, {"aten::mm"}}};  // mm: attention's

struct Timer : at::ObserverContext {
  Spent* spent = nullptr;
  Clock::time_point start;
};

std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction& function) {
  const std::string_view name = function.name();
  for (Spent& entry : spent) {
    if (entry.name != name) continue;
    auto timer = std::make_unique<Timer>();
    timer->spent = &entry;
    timer->start = Clock::now();
    return timer;
  }
  return nullptr;
}

void on_end(const at::RecordFunction&, at::ObserverContext* context) {
  if (auto* timer = static_cast<Timer*>(context)) {
    timer->spent->nanoseconds +=
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - timer->start).count();
  }
}

struct Rate {
  double median = 0, best = 0;
};

// FLOP/s of an f32 product of 2048 x 2048 matrices on all threads.
Rate gemm_rate(int runs) {
  constexpr int64_t n = 2048;
  const at::Tensor a = at::randn({n, n}), b = at::randn({n, n});
  at::Tensor c = at::empty({n, n});
  std::vector<double> rates;
  at::mm_out(c, a, b);
  for (int i = 0; i < runs; ++i) {
    const auto start = Clock::now();
    at::mm_out(c, a, b);
    rates.push_back(2.0 * n * n * n / std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::sort(rates.begin(), rates.end());
  return {rates[rates.size() / 2], rates.back()};
}

void print(const Json& report, const Rate& rate) {
  const Json& plan = report.at("plan");
  const double forward = plan.get_double("forward_flops", 0), gram = plan.get_double("gram_flops", 0);
  const Json& stages = report.at("stage_seconds");
  double products = 0, attention = 0;
  for (const Spent& entry : spent) {
    (entry.name == "aten::mm" ? attention : products) += double(entry.nanoseconds) * 1e-9 / at::get_num_threads();
  }
  const double gram_seconds = stages.get_double("gram", 0);
  double calibration = 0;
  for (const char* stage : {"embed", "read weights", "forward", "gram", "solve", "pack and write"})
    calibration += stages.get_double(stage, 0);
  std::printf("f32 GEMM rate of this machine (2048^3, %d threads): median %.0f, best %.0f GFLOP/s\n",
              at::get_num_threads(), rate.median / 1e9, rate.best / 1e9);
  std::printf(
      "work: %.3g FLOP in linears, %.3g in Gram matrices; floor %.1f s at the median rate, %.1f s at the best\n\n",
      forward, gram, (forward + gram) / rate.median, (forward + gram) / rate.best);
  std::printf("%-18s %9s %7s %10s\n", "stage", "seconds", "share", "GFLOP/s");
  for (const auto& [name, seconds] : stages.as_object()) {
    const double flops = name == "forward" ? forward : name == "gram" ? gram : 0;
    std::printf("%-18s %9.2f %6.1f%%", name.c_str(), seconds.as_double(),
                100 * seconds.as_double() / report.get_double("seconds", 1));
    if (flops > 0) std::printf(" %10.0f", flops / seconds.as_double() / 1e9);
    std::printf("\n");
  }
  std::printf("%-18s %9.2f\n\n", "whole run", report.get_double("seconds", 0));
  std::printf("inside forward: linears %.2f s (%.0f GFLOP/s), products of attention %.2f s\n", products,
              forward / products / 1e9, attention);
  std::printf(
      "calibration %.2f s: %.1f %% inside GEMM and SYRK, linears and SYRK at %.0f GFLOP/s = %.0f %% of the median "
      "rate; %.2f x the floor\n",
      calibration, 100 * (products + attention + gram_seconds) / calibration,
      (forward + gram) / (products + gram_seconds) / 1e9,
      100 * (forward + gram) / (products + gram_seconds) / rate.median, calibration / ((forward + gram) / rate.median));
  std::printf("peak memory %.0f MiB (plan: %.0f)\n", double(report.get_int("peak_rss_bytes", 0)) / (1 << 20),
              double(plan.get_int("peak_bytes", 0)) / (1 << 20));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: stage_bench MODEL OUT DATA [ROWS [TOKENS]]\n");
    return 2;
  }
  CompressOptions options;
  options.model = argv[1];
  options.output = argv[2];
  options.data_file = argv[3];
  options.num_calibration_samples = argc > 4 ? std::atoll(argv[4]) : 64;
  options.max_seq_length = argc > 5 ? std::atoll(argv[5]) : 512;
  options.pack = false;
  options.overwrite = true;
  options.method_fields = parse_json(R"({"scheme": "W4A16", "group_size": 64, "ignore": ["lm_head"]})", "options");
  mallopt(M_MMAP_THRESHOLD, 4 << 20);  // as the program does
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  try {
    const Rate before = gemm_rate(15);
    const auto handle =
        at::addGlobalCallback(at::RecordFunctionCallback(on_start, on_end).scopes({at::RecordScope::FUNCTION}));
    const Json report = compress(options, Context());
    at::removeCallback(handle);
    const Rate after = gemm_rate(15);  // the machine may be busier or quieter than before
    print(report, {(before.median + after.median) / 2, std::max(before.best, after.best)});
  } catch (const Error& e) {
    std::fprintf(stderr, "stage_bench: %s\n", e.what());
    return 1;
  }
  return 0;
}
