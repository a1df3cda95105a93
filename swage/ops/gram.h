// Gram matrix X^T X of the inputs of a linear layer, in one symmetric rank-k update per batch.
// T tokens, I input columns.
#pragma once
#include <ATen/core/Tensor.h>

namespace swage::kernels {
struct DeviceKernels;
}

namespace swage::ops {

// gram_II (f64 [I, I], contiguous) += x^T x for x_TI (f32 [T, I], contiguous). Only the upper triangle (row <= column)
// is updated; call gram_finish() once at the end. Over chunks of kGramChunk tokens columns are rounded to 16-bit fixed
// point (kernels::GramPack): a step is at most 2^-14 of the column's norm over the chunk. Their products are summed
// exactly, in f64 across chunks: the same bits on every processor and for any number of threads. Half the flops of a
// full product.
// A call with many tokens is the faster one: the sums stay in cache over them. Both tensors on one device. On a GPU x
// may be bf16, products are made in ops::product_type() and summed in f32 over up to 16384 tokens: bf16 inputs lose
// nothing, others are rounded to bf16 first. Error(InvalidArgument) on wrong types or shapes.
void gram_add(const at::Tensor& x_TI, at::Tensor& gram_II);
// The same for tokens that lie in several tensors, as if they were one.
void gram_add(at::ArrayRef<at::Tensor> parts_TI, at::Tensor& gram_II);
// The same for the rows of x_TI that rows_R (int64 [R], on x's device) lists, for tokens routed to an expert.
void gram_add_rows(const at::Tensor& x_TI, const at::Tensor& rows_R, at::Tensor& gram_II);
// sum_MN (f64 [M, N], contiguous, CPU) += a^T b for a_TM and b_TN (f32, contiguous), in the tiles of gram_add() and as
// it rounds and sums. What is there before plays no part in a product, so several calls are as if their tokens were
// one's only up to rounding.
void cross_add(const at::Tensor& a_TM, const at::Tensor& b_TN, at::Tensor& sum_MN);
// Plain twin of gram_add(): full products of token runs by matrix multiplication (both triangles are updated).
void gram_add_reference(const at::Tensor& x_TI, at::Tensor& gram_II);
// The sum's form on a GPU: gram_II += x^T x for x_TI in bf16 or f32, whose products over all of x are summed in f32,
// panel by panel right of the diagonal, by libtorch; `kernels` adds them to the f64 sums.
void gram_add_panels(const at::Tensor& x_TI, at::Tensor& gram_II, const kernels::DeviceKernels& kernels);
// Mirrors the upper triangle to the lower one.
void gram_finish(at::Tensor& gram_II);

// The same for tokens that come one tensor after the other and need not be kept: the sum is that of one gram_add() of
// all of them, bit for bit.
class GramSum {
 public:
  // Adds to gram_II (f64 [I, I], contiguous). `tokens`: how many will come; fewer may. `scratch`: memory that is kept
  // for the next sum, since fresh memory costs as much as a tenth of the products.
  GramSum(at::Tensor& gram_II, int64_t tokens, at::Tensor& scratch);
  // x_TI as in gram_add().
  void add(const at::Tensor& x_TI);
  // Adds what was not yet: once, at the end. Does not mirror.
  void finish();

 private:
  void add_on_device(const at::Tensor& x_TI);
  void pack(const float* x, int64_t tokens);
  float* waiting();
  void flush();

  at::Tensor& gram_II_;
  at::Tensor& scratch_;
  int64_t panels_, most_, filled_ = 0;
  int64_t waiting_ = 0;  // tokens of a chunk that is not full yet
};

}  // namespace swage::ops
