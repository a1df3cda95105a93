// Rows that do not know of each other: a switch for forwards of many sequences at once, whose results must be the same
// bits whatever is computed beside them.
#pragma once
#include <ATen/core/Tensor.h>

namespace swage::ops {

// While one lives, what products, transforms, activations and routers give for a row, when the calling thread asks for
// it, depends on that row alone: libtorch's products sum in another order for another number of rows, its elementwise
// functions are others at a tensor's end. Slower for many rows. On the CPU.
class RowsAlone {
 public:
  RowsAlone();
  ~RowsAlone();
  RowsAlone(const RowsAlone&) = delete;
  RowsAlone& operator=(const RowsAlone&) = delete;
  static bool on();

 private:
  bool before_;
};

// of(x), or, while rows are alone, of(row) for each row [1, ...] of x.
template <class Function>
void each_row(at::Tensor& x, const Function& of) {
  if (!RowsAlone::on() || x.dim() == 0 || x.size(0) <= 1) return of(x);
  for (int64_t row = 0; row < x.size(0); ++row) {
    at::Tensor one = x.narrow(0, row, 1);
    of(one);
  }
}

// x [T, I] W^T + b, in f32 on the CPU, each number by itself; with `add` on top of what is in `out`. b undefined: none.
void dot_rows(const at::Tensor& x_TI, const at::Tensor& weight_OI, const at::Tensor& bias_O, bool add,
              at::Tensor& out_TO);
at::Tensor dot_rows(const at::Tensor& x_TI, const at::Tensor& weight_OI, const at::Tensor& bias_O);

}  // namespace swage::ops
