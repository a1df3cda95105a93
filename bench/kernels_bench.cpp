// Rates of the kernels behind calibration and solving. FLOP/s count T*I^2 for the Gram matrix and O*I^2 for a GPTQ
// solve.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <benchmark/benchmark.h>

#include "swage/kernels/kernels.h"
#include "swage/ops/gram.h"
#include "swage/ops/integer_linear.h"
#include "swage/solvers/gptq.h"

namespace {

using namespace swage;

void set_flops(benchmark::State& state, double flops) {
  state.counters["FLOP/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void matrix_product(benchmark::State& state) {
  const int64_t n = state.range(0);
  const at::Tensor a = at::randn({n, n}), b = at::randn({n, n});
  at::Tensor c = at::empty({n, n});
  for (auto _ : state) at::mm_out(c, a, b);
  set_flops(state, 2.0 * static_cast<double>(n * n * n));
}
BENCHMARK(matrix_product)->Arg(2048)->UseRealTime()->Unit(benchmark::kMillisecond);

// One thread and one sequence, as in the forward of a calibration: f32 product of the dequantized weight, product of
// its codes.
void linear(benchmark::State& state) {
  const int64_t rows = state.range(0), columns = state.range(1), tokens = 512;
  const bool integer = state.range(2) != 0;
  const at::Tensor x_TI = at::randn({tokens, columns}), w_OI = at::randn({rows, columns});
  at::Tensor out_TO = at::empty({tokens, rows});
  const at::Tensor codes_OI = at::randint(-8, 8, {rows, columns}, at::kChar), scale_OG = at::rand({rows, columns / 64});
  const auto codes = ops::IntegerLinear::make(codes_OI, scale_OG, {});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (auto _ : state) {
    if (integer)
      codes->multiply(ops::IntegerLinear::quantize(x_TI, codes->block()), out_TO, false);
    else
      at::mm_out(out_TO, x_TI, w_OI.t());
  }
  at::set_num_threads(threads);
  set_flops(state, 2.0 * static_cast<double>(rows * columns * tokens));
}
BENCHMARK(linear)
    ->ArgNames({"O", "I", "integer"})
    ->ArgsProduct({{576, 1536}, {576, 1536}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

template <void (*kAdd)(const at::Tensor&, at::Tensor&)>
void gram(benchmark::State& state) {
  const int64_t columns = state.range(0), tokens = state.range(1);
  const at::Tensor x_TI = at::randn({tokens, columns});
  at::Tensor gram_II = at::zeros({columns, columns}, at::kDouble);
  for (auto _ : state) kAdd(x_TI, gram_II);
  set_flops(state, static_cast<double>(tokens * columns * columns));
}
BENCHMARK(gram<ops::gram_add>)
    ->ArgsProduct({{576, 1536, 4096}, {512, 4096}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(gram<ops::gram_add>)->Args({576, 32768})->Args({1536, 32768})->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(gram<ops::gram_add_reference>)
    ->ArgsProduct({{576, 1536, 4096}, {4096}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

at::Tensor gram_of_noise(int64_t columns) {
  at::Tensor gram_II = at::zeros({columns, columns}, at::kDouble);
  ops::gram_add(at::randn({2 * columns, columns}), gram_II);
  ops::gram_finish(gram_II);
  return gram_II;
}

solvers::GridSpec int4(int64_t group_size) {
  solvers::GridSpec spec;
  spec.group_size = group_size;
  spec.scale_dtype = at::kBFloat16;
  return spec;
}

void gptq_factor(benchmark::State& state) {
  const int64_t n = state.range(0);
  const at::Tensor gram_II = gram_of_noise(n);
  for (auto _ : state) benchmark::DoNotOptimize(solvers::gptq_factor(gram_II, {}));
  set_flops(state, static_cast<double>(n * n * n) / 3);
}
BENCHMARK(gptq_factor)->Arg(576)->Arg(1536)->Arg(4096)->UseRealTime()->Unit(benchmark::kMillisecond);

void gptq_solve(benchmark::State& state) {
  const int64_t rows = state.range(0), columns = state.range(1);
  const solvers::GptqFactor factor = solvers::gptq_factor(gram_of_noise(columns), {});
  const at::Tensor w_OI = at::randn({rows, columns});
  const solvers::Grid grid = solvers::find_grid(w_OI, int4(64), {});
  for (auto _ : state) benchmark::DoNotOptimize(solvers::gptq_solve(w_OI, factor, grid));
  set_flops(state, static_cast<double>(rows * columns * columns));
}
BENCHMARK(gptq_solve)
    ->Args({960, 576})
    ->Args({576, 576})
    ->Args({3072, 576})
    ->Args({576, 1536})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void find_grid(benchmark::State& state) {
  const at::Tensor w_OI = at::randn({3072, 1152});
  solvers::ScaleSearch search;
  if (state.range(0) == 0) search.kind = solvers::ScaleSearch::Kind::Absmax;
  for (auto _ : state) benchmark::DoNotOptimize(solvers::find_grid(w_OI, int4(64), search));
  state.SetItemsProcessed(state.iterations() * w_OI.numel());
}
BENCHMARK(find_grid)->ArgName("search")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);

void quantize_to_grid(benchmark::State& state) {
  const at::Tensor w_OI = at::randn({3072, 1152}).to(state.range(0) != 0 ? at::kBFloat16 : at::kFloat);
  solvers::ScaleSearch search;
  search.kind = solvers::ScaleSearch::Kind::Absmax;
  const solvers::Grid grid = solvers::find_grid(w_OI, int4(64), search);
  for (auto _ : state) benchmark::DoNotOptimize(solvers::quantize_to_grid(w_OI, grid));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(w_OI.nbytes()));
}
BENCHMARK(quantize_to_grid)->ArgName("bf16")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

int main(int argc, char** argv) {
  benchmark::AddCustomContext("kernels", kernels::instruction_set());
  benchmark::AddCustomContext("threads", std::to_string(at::get_num_threads()));
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
