#include "swage/kernels/kernels.h"

#include "swage/kernels/cpu/versions.h"

namespace swage::kernels {

const KernelTable& fast_kernels() {
  static const KernelTable table{gram_pack_fast,     gram_tile_fast,         cholesky_tile_fast,   gptq_panel_fast,
                                 search_scales_fast, quantize_row_fast,      value_range_fast,     row_error_fast,
                                 refine_panel_fast,  quantize_blocks_fast,   integer_product_fast, prune_gather_fast,
                                 prune_panel_fast,   sparse_refit_panel_fast};
  return table;
}

}  // namespace swage::kernels
