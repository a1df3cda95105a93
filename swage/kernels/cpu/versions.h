// The SIMD kernels, each with the choice of instruction set inside. Callers use kernels.h.
#pragma once
#include "swage/kernels/kernels.h"

namespace swage::kernels {

void gram_pack_fast(const GramPack& pack);
void gram_tile_fast(const GramTile& tile);
void cholesky_tile_fast(const CholeskyTile& tile);
void gptq_panel_fast(const GptqPanel& panel);
void search_scales_fast(const ScaleSearchPanel& panel);
void quantize_row_fast(const QuantizeRow& row);
void value_range_fast(ValueRange& range);
void row_error_fast(RowError& row);
void refine_panel_fast(const RefinePanel& panel);
void quantize_blocks_fast(const QuantizeBlocks& blocks);
void integer_product_fast(const IntegerProduct& product);
void prune_gather_fast(const PrunePanel& panel);
void prune_panel_fast(const PrunePanel& panel);
void sparse_refit_panel_fast(const SparsePanel& panel);

}  // namespace swage::kernels
