#include "swage/ops/quadratic_form.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>

#include <algorithm>

#include "swage/ops/parallel_tasks.h"
#include "swage/ops/products.h"

namespace swage::ops {
namespace {

// H is symmetric: the blocks above its diagonal, taken twice, and those on it. With eight blocks that is 9/16 of the
// products.
double quadratic_form_of_rows(const at::Tensor& a_RI, const at::Tensor& gram_II, at::Tensor& scratch) {
  constexpr int64_t kBlocks = 8, kLeastColumns = 128;  // thinner products are slower than what they save
  const int64_t rows = a_RI.size(0), columns = gram_II.size(0),
                step = std::max(kLeastColumns, (columns + kBlocks - 1) / kBlocks);
  const auto product = [&](const at::Tensor& rows_RB, int64_t row, int64_t first, int64_t end) {
    const at::Tensor part_BJ = gram_II.narrow(0, row, rows_RB.size(1)).narrow(1, first, end - first);
    at::Tensor out_RJ = scratch.narrow(0, 0, rows * (end - first)).view({rows, end - first});
    return at::mm_out(out_RJ, rows_RB, part_BJ)
        .mul_(a_RI.narrow(1, first, end - first))
        .sum(at::kDouble)
        .item<double>();
  };
  double sum = 0;
  for (int64_t row = 0; row < columns; row += step) {
    const int64_t end = std::min(columns, row + step);
    const at::Tensor rows_RB = a_RI.narrow(1, row, end - row);
    sum += product(rows_RB, row, row, end);
    if (end < columns) sum += 2 * product(rows_RB, row, end, columns);
  }
  return sum;
}

// Of a number that is only told: in bf16, whose rounding errors average out below 1e-3.
double told_quadratic_form(const at::Tensor& a_OI, const at::Tensor& gram_II) {
  return product(a_OI.to(at::kBFloat16), gram_II.to(at::kBFloat16)).mul_(a_OI).sum(at::kDouble).item<double>();
}

}  // namespace

double quadratic_form(const at::Tensor& a_OI, const at::Tensor& gram_II) {
  if (!a_OI.is_cpu()) return told_quadratic_form(a_OI, gram_II);
  return sum_by_rows(a_OI.size(0), [&](int64_t first, int64_t rows) {
    at::Tensor scratch = at::empty({rows * gram_II.size(0)},
                                   a_OI.options());  // one size for all products: the allocator keeps what it gives
    return quadratic_form_of_rows(a_OI.narrow(0, first, rows), gram_II, scratch);
  });
}

}  // namespace swage::ops
