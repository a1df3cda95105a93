#include "swage/model/stored_part.h"

namespace swage::model {
namespace {

at::Tensor rows_of(const graph::Stored& stored, int64_t rows, const at::Tensor& all, int64_t dimension) {
  const int64_t end = stored.first_row + (rows - 1) * stored.row_step + 1;
  return all.slice(dimension, stored.first_row, end, stored.row_step);
}

}  // namespace

at::Tensor weight_part(const graph::Stored& stored, int64_t rows, const at::Tensor& whole) {
  const at::Tensor matrix = whole.dim() == 3 ? whole[stored.index] : whole;
  return stored.transposed ? rows_of(stored, rows, matrix, 1).t() : rows_of(stored, rows, matrix, 0);
}

at::Tensor bias_part(const graph::Stored& stored, int64_t rows, const at::Tensor& whole) {
  return rows_of(stored, rows, whole.dim() == 2 ? whole[stored.index] : whole, 0);
}

}  // namespace swage::model
