// The CPU kernels of swage: raw pointers and dimensions in, no allocation, no threads. Each stands twice in this
// folder: as SIMD code for several instruction sets (cpu/, chosen at run time) and as plain scalar code (plain*.cpp),
// which says what is computed and is what the SIMD code is tested against. One table lists them; a test walks it.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <numeric>

#include "swage/kernels/number_format.h"
#include "swage/kernels/packed.h"
#include "swage/kernels/paged.h"
#include "swage/kernels/rows.h"

namespace swage::kernels {

// Values that are processed side by side: columns of a packed Gram panel, weight rows of a GPTQ panel. A multiple of
// three vectors of every instruction set, because the matrix kernels hold 3 vectors x 8 rows in registers.
inline constexpr int64_t kPanel = 48;
// Tokens whose products are summed as integers before the sum goes to f64, and of which a column has one scale.
inline constexpr int64_t kGramChunk = 256;
// Columns of the GPTQ factor that are interleaved in memory.
inline constexpr int64_t kColumnGroup = 8;
// Groups that the scale search works on side by side.
inline constexpr int64_t kSearchLanes = 16;

// One chunk of X for GramTile: each column in fixed point, codes of 16 bits times a power of two, the least for which
// the squares of the codes sum to less than 2^30. By Cauchy and Schwarz no sum of products of two columns is larger, so
// that int32 holds it in whichever order it is summed: the Gram matrix has the same bits on every processor. A token
// that outweighs all others makes the steps of its own chunk coarser.
struct GramPack {
  const float* x;  // [tokens, columns], rows `stride` apart
  int64_t stride, columns;
  int64_t tokens;  // at most kGramChunk
  void* packed;    // where the first panel goes: codes, zeros beyond the last column and, in the last step, token
  double* scale;   // [columns in whole panels] out; NaN where a value is not finite or its square overflows
};
// gram_pack() makes pairs of tokens, int16 [panel][kGramChunk / 2][kPanel][2]. gram_pack_planes() makes bytes for
// tiles, [panel][kPanel / kTileRows][step of kTileBytes tokens][low, high][kTileBytes / 4][kTileRows columns][4
// tokens]; the high bytes are signed.
inline constexpr int64_t kGramPanelBytes = 2 * kGramChunk * kPanel;

// One tile of X^T X, of pairs (gram_tile) or of planes (gram_plane_tile). `packed` holds X in chunks of `panels`
// panels; the last chunk may be partly filled.
inline constexpr int64_t kGramMostRows = 2;
struct GramTile {
  const void* packed;
  const double* scale;            // [chunk][panels * kPanel]
  int64_t panels;                 // panels of all columns of X
  int64_t tokens;                 // in all chunks together
  int64_t row_panel, row_panels;  // rows of the result, at most kGramMostRows
  int64_t column_panel, column_panels;
  double* sum;  // [row_panels * kPanel, column_panels * kPanel], 64-byte aligned; added to, chunk after chunk.
};  // Elements left of the diagonal may or may not be computed.
// Exponent of a column's scale, from the sum of its squares in f32, token after token. Below 2^-100 as at 2^-100.
SWAGE_HOST_DEVICE inline int gram_exponent(float squares) {
  const int exponent = static_cast<int>(std::bit_cast<uint32_t>(std::max(squares, 0x1p-100f)) >> 23) - 127;
  return (exponent - 28) >> 1;  // squares < 2^(exponent + 1)
}

// One tile [kPanel, kPanel] of an upper Cholesky factor H = U^T U, left-looking: tile -= a^T b, and then, unless
// `diagonal` is null, tile = diagonal^-T tile. All pointers are aligned to 64 bytes.
struct CholeskyTile {
  const double* a;  // [depth, kPanel]: rows of U above the tile, in the columns of the tile's rows
  const double* b;  // [depth, kPanel]: the same rows in the tile's own columns
  int64_t depth;
  const double* diagonal;  // [kPanel, kPanel]: finished upper triangular tile on the diagonal of the tile's rows
  double* tile;
};

// Which values a code may have.
struct CodeRange {
  CodeKind kind;
  float min, max;
};

// GPTQ for kPanel rows of the weight, one column after the other (LDL form):
//   v_i = w_i + sum_{k<i} e_k M_ki,  code_i = round(v_i / scale + zero),  e_i = w_i - (code_i - zero) * scale.
struct GptqPanel {
  int64_t columns;       // multiple of kColumnGroup; padding columns have w = 0, M = 0, d = 0
  float* weight_error;   // [columns, kPanel], 64-byte aligned: w on entry, e on return
  const float* m;        // unit upper triangular M: group g of kColumnGroup columns starts at gptq_m_offset(g) and
                         // holds rows 0 .. kColumnGroup*(g+1)-1, each [kColumnGroup]
  const float* d;        // [columns]
  const int32_t* group;  // [columns]: group of each column
  const float* scale;    // [groups, kPanel]
  const float* inverse_scale;
  const float* zero;  // [groups, kPanel], integers; zeros if symmetric
  CodeRange range;
  uint8_t* codes;  // [columns, kPanel]: code bytes
  double* loss;    // [kPanel]: sum_i d_i (v_i - (code_i - zero) * scale)^2
  const float* keep =
      nullptr;  // [columns, kPanel], 64-byte aligned, or null: where it is 0 the code is `zero`, whatever v is
};
inline constexpr int64_t gptq_m_offset(int64_t column_group) {
  return kColumnGroup * kColumnGroup * column_group * (column_group + 1) / 2;
}

// Best scale of kSearchLanes groups out of `steps` candidates: the range [low, high] times each factor. The first
// candidate with the smallest sum |(code - zero) * scale - w|^norm wins.
struct ScaleSearchPanel {
  const float* weight;   // [count, kSearchLanes], 64-byte aligned
  int64_t count;         // weights per group
  const float* low;      // [kSearchLanes], <= 0
  const float* high;     // [kSearchLanes], >= 0
  const float* factors;  // [steps]
  int64_t steps;
  float norm;
  CodeRange range;
  bool symmetric;  // scale = max(-low, high) * factor / divisor, else (high - low) * factor / divisor
  float divisor;
  ScaleRule rule;  // how candidates are rounded
  float* scale;    // [kSearchLanes] out
  float* zero;     // [kSearchLanes] out
  // Not null: all lanes are pieces of one group, with its range. Nothing is chosen; `scale` and `zero` are [steps], the
  // candidates, and `error` is [steps] out: each one's sum over the lanes, in units that depend on the range alone.
  double* error = nullptr;
  const float* importance = nullptr;  // [count, kSearchLanes]: factors of the weights' errors; null: 1
  int32_t* step = nullptr;            // [kSearchLanes] out: which factor won; not with `error`
  uint8_t* improved = nullptr;        // [steps]: 1 is put where a group found its best so far; not with `error`
};

// Codes of one row: round(w / scale + zero), clamped. `scale` and `zero` hold one value per column.
struct QuantizeRow {
  const void* weight;
  NumberFormat format;
  int64_t count;
  const float* scale;
  const float* zero;
  CodeRange range;
  uint8_t* codes;  // code bytes
};

// How far the codes of one row are from it: sums of (w - q)^2 and of w^2 with q = (code - zero) * scale. `scale` and
// `zero` hold one value per column. Summed in f32 over at most kErrorRun values of a lane, then in f64.
inline constexpr int64_t kErrorRun = 16;
struct RowError {
  const void* weight;
  NumberFormat format;
  int64_t count;
  const uint8_t* codes;  // code bytes
  const float* values;   // [256]: of each code byte
  const float* scale;
  const float* zero;
  double difference, whole;  // out
};

// Smallest and largest value; low is NaN if any value is not finite.
struct ValueRange {
  const void* values;
  NumberFormat format;
  int64_t count;
  float low, high;  // out
};

// Blocks of a row as int16 with one scale each: code = round(x / scale), scale = max|x| / 32767. The scale of a block
// with a value that is not finite is NaN.
struct QuantizeBlocks {
  const float* x;  // [count]
  int64_t count;   // multiple of block
  int64_t block;
  int16_t* codes;  // [count]
  float* scale;    // [count / block]; 0 for a block of zeros
};

// out = x W^T for up to kPanel rows of the weight: per block of columns an exact sum in int32, times both scales,
// summed in f32. |code| <= 255 and block <= kLongestBlock keep the sums below 2^31.
inline constexpr int64_t kLongestBlock = 256;
struct IntegerProduct {
  int64_t rows;           // of x
  int64_t columns;        // multiple of block
  int64_t block;          // columns that share a scale, even
  const int16_t* x;       // [rows, columns]
  const float* x_scale;   // [rows, columns / block]
  const int16_t* weight;  // [columns / 2, kPanel, 2]: codes less zero points, zeros beyond `outputs`; 64-byte aligned
  const float* weight_scale;  // [columns / block, kPanel], 64-byte aligned
  float* out;                 // [rows, outputs], rows out_stride apart
  int64_t out_stride;
  int64_t outputs;  // 1 .. kPanel
  bool add;         // out += x W^T
};

// The same for processors that multiply tiles of bytes. A code of x is its high byte, signed, times 256 and its low
// byte, unsigned. Rows lie in groups of kTileRows, the last one with room for as many, a group's columns in steps of
// tile_step() columns: [group][step][low, high][kTileRows][step's columns].
inline constexpr int64_t kTileRows = 16, kTileBytes = 64;
// Columns of a block that are multiplied at once: the longest divisor of it that a tile holds; 0: bytes do not serve.
inline constexpr int64_t tile_step(int64_t block) {
  for (int64_t step = std::min(block, kTileBytes); step >= 4; --step) {
    if (step % 4 == 0 && block % step == 0) return step;
  }
  return 0;
}
// Where the scale of a row's block lies.
inline constexpr int64_t plane_scale(int64_t row, int64_t block, int64_t blocks) {
  return (row / kTileRows * blocks + block) * kTileRows + row % kTileRows;
}
struct QuantizePlanes {
  const float* x;  // [rows, columns]
  int64_t rows, columns, block;
  uint8_t* planes;  // as above
  float* scale;     // [group][columns / block][kTileRows]
};
// out = x W^T as integer_product() gives it, bit for bit. The weight is one array of signed bytes or the sum of two, of
// which the second is null or holds what the first lacks.
struct PlaneProduct {
  int64_t rows, columns, block;
  const uint8_t* x;           // planes
  const float* x_scale;       // [group][columns / block][kTileRows]
  const int8_t* weight;       // [kPanel / kTileRows, columns / 4, kTileRows, 4]; zeros beyond `outputs`
  const int8_t* rest;         // the same, or null
  const float* weight_scale;  // [columns / block, kPanel], 64-byte aligned
  float* out;                 // [rows, outputs], rows out_stride apart
  int64_t out_stride;
  int64_t outputs;  // 1 .. kPanel
  bool add;         // out += x W^T
};
// Whether fast_kernels() has tiles, so that planes of bytes are what to multiply.
bool multiplies_tiles();

// One group of columns of a solved weight, kPanel rows side by side: first (if `refit`) the scale that fits the codes
// best, then each code to its best value given all others (coordinate descent). H is the Gram matrix, P = (W - Q) H the
// gradient:
//   scale += sum_j P_j u_j / sum_ij u_i H_ij u_j  with u = code - zero, rounded by `rule`, kept if the loss falls;
//   code_j = round(code_j + P_j / (H_jj scale)).
inline constexpr int64_t kLongestRefit = 128;
struct RefinePanel {
  int64_t count;                  // columns, at most kLongestRefit
  const float* gram;              // [count, count]
  const float* inverse_diagonal;  // [count]: 1 / H_jj
  float* gradient;                // [count, kPanel], 64-byte aligned; used up
  float* code;                    // [count, kPanel], 64-byte aligned: code values; changed
  float* scale;                   // [kPanel], 64-byte aligned; changed
  const float* zero;              // [kPanel], 64-byte aligned
  bool refit;
  ScaleRule rule;
  CodeRange range;
  float* change;                // [count, kPanel], 64-byte aligned, out: new value less old value
  const float* keep = nullptr;  // [count, kPanel], 64-byte aligned, or null: where it is 0 the code stays
};
// The refitted scale as it is stored; `scale` if that would not lower the loss.
SWAGE_HOST_DEVICE inline float refitted_scale(const ScaleRule& rule, float scale, float slope, float curvature) {
  if (rule.format == ScaleFormat::PowerOfTwo || !(curvature > 0)) return scale;
  const float wanted = scale + slope / curvature;
  if (!(wanted > 0)) return scale;
  const float fitted = stored_scale(rule, wanted, 0), change = fitted - scale;
  return fitted > 0 && change * (change * curvature - 2 * slope) < 0 ? fitted : scale;
}

// SparseGPT for kPanel rows of the weight and the columns [begin, end), one after the other (LDL form):
//   v_i = w_i + sum_{k<i} e_k M_ki,  q_i = v_i if it is kept, else 0,  e_i = w_i - q_i.
// In two kernels, because what is kept may depend on the values of all rows: prune_gather() sets `value` to
// w_i + sum_{k<begin} e_k M_ki, prune_panel() does the rest.
inline constexpr int64_t kLongestPruneGroup = 32;
struct PrunePanel {
  int64_t begin, end;   // columns, multiples of kColumnGroup
  float* weight_error;  // [columns, kPanel], 64-byte aligned: e before `begin`, w from there on; then e up to `end`
  const float* m;       // as in GptqPanel
  const float* d;       // [columns]
  float* value;         // [end - begin, kPanel], 64-byte aligned: q on return of prune_panel()
  float* keep;          // [end - begin, kPanel], 64-byte aligned: 1 for what is kept, 0 for what is dropped
  int64_t group;  // M <= kLongestPruneGroup: of every M columns from `begin` on, the N with the least v^2 d, with the v
                  // that follow if
  int64_t
      dropped;  // N  all M are kept, are dropped in `keep`, those that it drops already first. M = 0: as `keep` says.
  float* loss;  // [kPanel], 64-byte aligned: sum_i d_i (v_i - q_i)^2 is added
};
// Columns of which prune_panel() finishes the values together: whole groups, whole packed columns.
inline constexpr int64_t prune_run(int64_t group) {
  constexpr int64_t kLeast = 32;
  const int64_t together = std::lcm(std::max<int64_t>(group, 1), kColumnGroup);
  return (kLeast + together - 1) / together * together;
}

// One piece of a pruned weight, kPanel rows side by side, with `gradient` P = (W - Q) H. Without groups every value
// that is not 0 takes its best given all others, q_j + P_j / H_jj. With groups of M columns each takes the best of its
// supports S of K columns, q_S = H_SS^-1 b_S with b = P + q H over the group and the largest b_S q_S, the first of
// equals.
inline constexpr int64_t kLongestSwapGroup = 8, kLongestSupport = 8;
struct SparsePanel {
  int64_t count;                              // columns; a multiple of M
  const float* gram;                          // [count, count]
  const float* inverse_diagonal;              // [count]: 1 / H_jj
  float* gradient;                            // [count, kPanel], 64-byte aligned; used up
  float* value;                               // [count, kPanel], 64-byte aligned; changed
  float* change;                              // [count, kPanel], 64-byte aligned, out: new value less old value
  int64_t group = 0, kept = 0, supports = 0;  // M, K and the number of supports; M = 0: zeros stay zeros
  const uint8_t* members = nullptr;           // [supports, K]: columns of the group
  const float* inverse = nullptr;             // [count / M, supports, K, K]: H_SS^-1
};

struct KernelTable {
  void (*gram_pack)(const GramPack&);
  void (*gram_tile)(const GramTile&);
  void (*gram_pack_planes)(const GramPack&);
  void (*gram_plane_tile)(const GramTile&);
  void (*cholesky_tile)(const CholeskyTile&);
  void (*gptq_panel)(const GptqPanel&);
  void (*search_scales)(const ScaleSearchPanel&);
  void (*quantize_row)(const QuantizeRow&);
  void (*value_range)(ValueRange&);
  void (*row_error)(RowError&);
  void (*refine_panel)(const RefinePanel&);
  void (*quantize_blocks)(const QuantizeBlocks&);
  void (*integer_product)(const IntegerProduct&);
  void (*quantize_planes)(const QuantizePlanes&);
  void (*plane_product)(const PlaneProduct&);
  void (*prune_gather)(const PrunePanel&);
  void (*prune_panel)(const PrunePanel&);
  void (*sparse_refit_panel)(const SparsePanel&);
  void (*rms_norm)(const RmsNormRows&);
  void (*silu_multiply)(const SiluMultiply&);
  void (*rotate_heads)(const RotateHeads&);
  void (*softmax_rows)(const SoftmaxRows&);
  void (*largest_size)(LargestSize&);
  void (*column_ranges)(const ColumnRanges&);
  void (*round_to_integers)(const RoundToIntegers&);
  void (*round_to_e4m3)(const RoundToFloats&);
  void (*round_to_e2m1)(const RoundToFloats&);
  void (*split_blocks)(const SplitBlocks&);
  void (*packed_product)(const PackedProduct&);
  void (*row_product)(const RowProduct&);
  void (*dot_rows)(const DotRows&);
  void (*block_scores)(const BlockScores&);
  void (*block_values)(const BlockValues&);
  void (*score_weights)(const ScoreWeights&);

  template <class V>
  static void visit(V&& v) {
    v("gram_pack", &KernelTable::gram_pack);
    v("gram_tile", &KernelTable::gram_tile);
    v("gram_pack_planes", &KernelTable::gram_pack_planes);
    v("gram_plane_tile", &KernelTable::gram_plane_tile);
    v("cholesky_tile", &KernelTable::cholesky_tile);
    v("gptq_panel", &KernelTable::gptq_panel);
    v("search_scales", &KernelTable::search_scales);
    v("quantize_row", &KernelTable::quantize_row);
    v("value_range", &KernelTable::value_range);
    v("row_error", &KernelTable::row_error);
    v("refine_panel", &KernelTable::refine_panel);
    v("quantize_blocks", &KernelTable::quantize_blocks);
    v("integer_product", &KernelTable::integer_product);
    v("quantize_planes", &KernelTable::quantize_planes);
    v("plane_product", &KernelTable::plane_product);
    v("prune_gather", &KernelTable::prune_gather);
    v("prune_panel", &KernelTable::prune_panel);
    v("sparse_refit_panel", &KernelTable::sparse_refit_panel);
    v("rms_norm", &KernelTable::rms_norm);
    v("silu_multiply", &KernelTable::silu_multiply);
    v("rotate_heads", &KernelTable::rotate_heads);
    v("softmax_rows", &KernelTable::softmax_rows);
    v("largest_size", &KernelTable::largest_size);
    v("column_ranges", &KernelTable::column_ranges);
    v("round_to_integers", &KernelTable::round_to_integers);
    v("round_to_e4m3", &KernelTable::round_to_e4m3);
    v("round_to_e2m1", &KernelTable::round_to_e2m1);
    v("split_blocks", &KernelTable::split_blocks);
    v("packed_product", &KernelTable::packed_product);
    v("row_product", &KernelTable::row_product);
    v("dot_rows", &KernelTable::dot_rows);
    v("block_scores", &KernelTable::block_scores);
    v("block_values", &KernelTable::block_values);
    v("score_weights", &KernelTable::score_weights);
  }
};

// The fastest version this CPU can run.
const KernelTable& fast_kernels();
// The scalar twins.
const KernelTable& plain_kernels();
// Instruction set behind fast_kernels(), for reports: "AVX3" is AVX-512, "AVX3_DL" has VNNI, "AVX3_DL AMX" tiles too.
const char* instruction_set();

}  // namespace swage::kernels
