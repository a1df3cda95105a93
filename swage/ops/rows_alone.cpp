#include "swage/ops/rows_alone.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "swage/base/error.h"
#include "swage/kernels/kernels.h"

namespace swage::ops {
namespace {

constexpr int64_t kOutputsOfATask = 64;
constexpr int64_t kWorthAThread = 1 << 20;  // products; below, waking a thread takes longer

bool& rows_are_alone() {
  thread_local bool alone = false;
  return alone;
}

}  // namespace

RowsAlone::RowsAlone() : before_(rows_are_alone()) { rows_are_alone() = true; }
RowsAlone::~RowsAlone() { rows_are_alone() = before_; }
bool RowsAlone::on() { return rows_are_alone(); }

void dot_rows(const at::Tensor& x_TI, const at::Tensor& weight_OI, const at::Tensor& bias_O, bool add,
              at::Tensor& out_TO) {
  SWAGE_CHECK(x_TI.dim() == 2 && weight_OI.dim() == 2 && x_TI.size(1) == weight_OI.size(1) && x_TI.is_cpu() &&
                  x_TI.scalar_type() == at::kFloat && weight_OI.scalar_type() == at::kFloat && out_TO.stride(1) == 1,
              Internal, "dot_rows: ", x_TI.sizes(), " by ", weight_OI.sizes());
  const at::Tensor x = x_TI.stride(1) == 1 ? x_TI : x_TI.contiguous(), weight = weight_OI.contiguous(),
                   bias = bias_O.defined() ? bias_O.contiguous() : bias_O;
  const int64_t rows = x.size(0), columns = x.size(1), outputs = weight.size(0);
  const float *from = x.const_data_ptr<float>(), *weights = weight.const_data_ptr<float>(),
              *biases = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
  float* to = out_TO.mutable_data_ptr<float>();
  const int64_t tasks = (outputs + kOutputsOfATask - 1) / kOutputsOfATask;
  const int64_t grain = std::max<int64_t>(1, kWorthAThread / std::max<int64_t>(1, rows * columns * kOutputsOfATask));
  at::parallel_for(0, tasks, grain, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kOutputsOfATask, last = std::min(outputs, end * kOutputsOfATask);
    kernels::fast_kernels().dot_rows({from, rows, columns, x.stride(0), weights + first * columns, last - first,
                                      biases == nullptr ? nullptr : biases + first, to + first, out_TO.stride(0), add});
  });
}

at::Tensor dot_rows(const at::Tensor& x_TI, const at::Tensor& weight_OI, const at::Tensor& bias_O) {
  at::Tensor out_TO = at::empty({x_TI.size(0), weight_OI.size(0)}, x_TI.options());
  dot_rows(x_TI, weight_OI, bias_O, false, out_TO);
  return out_TO;
}

}  // namespace swage::ops
