// The SIMD kernels, each with the choice of instruction set inside (those of rows make it when the program is loaded).
// Callers use kernels.h.
#pragma once
#include "swage/kernels/kernels.h"

namespace swage::kernels {

void gram_pack_fast(const GramPack& pack);
void gram_tile_fast(const GramTile& tile);
void gram_pack_planes_fast(const GramPack& pack);
void gram_plane_tile_fast(const GramTile& tile);
void cholesky_tile_fast(const CholeskyTile& tile);
void gptq_panel_fast(const GptqPanel& panel);
void search_scales_fast(const ScaleSearchPanel& panel);
void quantize_row_fast(const QuantizeRow& row);
void value_range_fast(ValueRange& range);
void row_error_fast(RowError& row);
void refine_panel_fast(const RefinePanel& panel);
void quantize_blocks_fast(const QuantizeBlocks& blocks);
void integer_product_fast(const IntegerProduct& product);
void quantize_planes_fast(const QuantizePlanes& planes);
void plane_product_fast(const PlaneProduct& product);
void prune_gather_fast(const PrunePanel& panel);
void prune_panel_fast(const PrunePanel& panel);
void sparse_refit_panel_fast(const SparsePanel& panel);
void rms_norm_fast(const RmsNormRows& rows);
void silu_multiply_fast(const SiluMultiply& rows);
void rotate_heads_fast(const RotateHeads& rows);
void softmax_rows_fast(const SoftmaxRows& rows);
void largest_size_fast(LargestSize& rows);
void column_ranges_fast(const ColumnRanges& rows);
void round_to_integers_fast(const RoundToIntegers& rows);
void round_to_e4m3_fast(const RoundToFloats& rows);
void round_to_e2m1_fast(const RoundToFloats& rows);
void split_blocks_fast(const SplitBlocks& blocks);
void packed_product_fast(const PackedProduct& product);
void packed_product_tiles(const PackedProduct& product);  // where multiplies_tiles(): the same bits
void row_product_fast(const RowProduct& product);

// Whether the chosen instruction set is the one with products of pairs (VNNI). Asking Highway what the processor has
// costs tens of microseconds in a virtual machine, which takes CPUID over.
bool runs_pair_products();
void dot_rows_fast(const DotRows& rows);
void block_scores_fast(const BlockScores& block);
void block_values_fast(const BlockValues& block);
void score_weights_fast(const ScoreWeights& row);

}  // namespace swage::kernels
