#include "swage/kernels/kernels.h"

#include "swage/kernels/cpu/versions.h"

namespace swage::kernels {

const KernelTable& fast_kernels() {
  static const KernelTable table{
      gram_pack_fast,         gram_tile_fast,     cholesky_tile_fast, gptq_panel_fast,         search_scales_fast,
      quantize_row_fast,      value_range_fast,   row_error_fast,     refine_panel_fast,       quantize_blocks_fast,
      integer_product_fast,   prune_gather_fast,  prune_panel_fast,   sparse_refit_panel_fast, rms_norm_fast,
      silu_multiply_fast,     rotate_heads_fast,  softmax_rows_fast,  largest_size_fast,       column_ranges_fast,
      round_to_integers_fast, round_to_e4m3_fast, round_to_e2m1_fast, split_blocks_fast,       packed_product_fast,
      row_product_fast};
  return table;
}

}  // namespace swage::kernels
