#include "swage/ops/gram.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "swage/base/error.h"
#include "swage/kernels/cuda/device_kernels.h"
#include "swage/kernels/kernels.h"
#include "swage/ops/device.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/ops/products.h"

namespace swage::ops {
namespace {

using kernels::kGramChunk;
using kernels::kPanel;

// Sums of one tile: 2 x 4 panels in f64 are 147 KB and stay in the L2 cache beside the two panels being multiplied.
constexpr int64_t kTileRows = 2, kTileColumns = 4;
static_assert(kTileRows <= kernels::kGramMostRows);
// Packed copies of x take about this many bytes, or as much as half the Gram matrix if that is more: then adding the
// tiles to it costs a few percent at any width.
constexpr int64_t kPackedBytes = 8 << 20;

void check(const char* who, const at::Tensor& x_TI, const at::Tensor& gram_II) {
  const bool fits = x_TI.scalar_type() == at::kFloat || (!x_TI.is_cpu() && x_TI.scalar_type() == at::kBFloat16);
  SWAGE_CHECK(x_TI.dim() == 2 && fits && x_TI.is_contiguous(), InvalidArgument, who,
              ": x must be a contiguous f32 matrix, got ", x_TI.scalar_type(), " ", x_TI.sizes());
  const int64_t width = x_TI.size(1);
  SWAGE_CHECK(gram_II.dim() == 2 && gram_II.size(0) == width && gram_II.size(1) == width &&
                  gram_II.scalar_type() == at::kDouble && gram_II.is_contiguous(),
              InvalidArgument, who, ": the Gram matrix must be contiguous f64 [", width, ", ", width, "], got ",
              gram_II.scalar_type(), " ", gram_II.sizes());
  SWAGE_CHECK(x_TI.device() == gram_II.device(), InvalidArgument, who, ": x is on ", x_TI.device(),
              ", the Gram matrix on ", gram_II.device());
}

// On a GPU: tokens of one product, whose sums in f32 still err less than bf16 inputs; panels of columns, five eighths
// of the products with four.
constexpr int64_t kDeviceTokens = 1 << 14, kDevicePanels = 4, kLeastPanel = 128;
constexpr int64_t kReferenceRun = 512;  // tokens of one product in gram_add_reference()

int64_t panels_of(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

// Chunks of packed tokens with the scales of their columns, one after the other in a tensor of bytes, and behind them
// `loose` floats.
struct Packed {
  int64_t panels, chunks;
  uint8_t* data = nullptr;

  int64_t chunk_bytes() const { return panels * kernels::kGramPanelBytes; }
  int64_t bytes(int64_t loose) const {
    return chunks * (chunk_bytes() + panels * kPanel * int64_t{sizeof(double)}) + loose * int64_t{sizeof(float)};
  }
  double* scale() const { return reinterpret_cast<double*>(data + chunks * chunk_bytes()); }
  float* loose() const { return reinterpret_cast<float*>(scale() + chunks * panels * kPanel); }
};

// How many tokens are packed before their sums go to the Gram matrix: of as many as there are, whole chunks.
int64_t tokens_together(int64_t panels, int64_t elements, int64_t tokens) {
  const int64_t room = std::max(kPackedBytes, 4 * elements) / (panels * kernels::kGramPanelBytes) * kGramChunk;
  return std::clamp<int64_t>(room, kGramChunk,
                             std::max<int64_t>(1, (tokens + kGramChunk - 1) / kGramChunk) * kGramChunk);
}

// Packs x [tokens, columns] from chunk `first` on, its first panel as the chunks' `panel`.
void pack(const float* x, int64_t tokens, int64_t columns, const Packed& to, int64_t first, int64_t panel) {
  constexpr int64_t kTogether = 4;  // panels of one task
  const kernels::KernelTable& table = kernels::fast_kernels();
  const auto run = kernels::multiplies_tiles() ? table.gram_pack_planes : table.gram_pack;
  const int64_t chunks = (tokens + kGramChunk - 1) / kGramChunk,
                groups = (panels_of(columns) + kTogether - 1) / kTogether;
  at::parallel_for(0, chunks * groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t chunk = task / groups, group = task % groups * kTogether, column = group * kPanel;
      run({x + chunk * kGramChunk * columns + column, columns, std::min(kTogether * kPanel, columns - column),
           std::min(kGramChunk, tokens - chunk * kGramChunk),
           to.data + (first + chunk) * to.chunk_bytes() + (panel + group) * kernels::kGramPanelBytes,
           to.scale() + ((first + chunk) * to.panels + panel + group) * kPanel});
    }
  });
}

void add_tile(const kernels::GramTile& tile) {
  const kernels::KernelTable& table = kernels::fast_kernels();
  (kernels::multiplies_tiles() ? table.gram_plane_tile : table.gram_tile)(tile);
}

struct Tile {
  int64_t row, column;  // first panels
};

// All tiles that touch the upper triangle, the ones at the end of a row of tiles last: they are the smaller ones.
std::vector<Tile> upper_tiles(int64_t panels) {
  std::vector<Tile> whole, rest;
  for (int64_t row = 0; row < panels; row += kTileRows) {
    for (int64_t column = row; column < panels; column += kTileColumns) {
      (column + kTileColumns <= panels ? whole : rest).push_back({row, column});
    }
  }
  whole.insert(whole.end(), rest.begin(), rest.end());
  return whole;
}

void add_tile_to(double* gram, int64_t columns, const kernels::GramTile& tile) {
  const int64_t row0 = tile.row_panel * kPanel, column0 = tile.column_panel * kPanel,
                stride = tile.column_panels * kPanel;
  const int64_t rows = std::min(tile.row_panels * kPanel, columns - row0), end = std::min(column0 + stride, columns);
  constexpr int64_t kAhead = 6, kLineDoubles = 8;  // rows lie far apart: the processor does not foresee the next one
  for (int64_t r = 0; r < rows; ++r) {
    const double* sum = tile.sum + r * stride;
    double* to = gram + (row0 + r) * columns;
    if (r + kAhead < rows) {
      for (int64_t c = column0; c < end; c += kLineDoubles) __builtin_prefetch(to + kAhead * columns + c, 1);
    }
    for (int64_t c = std::max(column0, row0 + r); c < end; ++c) to[c] += sum[c - column0];
  }
}

void add_packed(const Packed& packed, int64_t tokens, int64_t columns, double* gram) {
  const int64_t panels = packed.panels;
  const std::vector<Tile> tiles = upper_tiles(panels);
  const auto make_sums = [] { return at::empty({kTileRows * kPanel * kTileColumns * kPanel}, at::kDouble); };
  parallel_tasks(static_cast<int64_t>(tiles.size()), make_sums, [&](int64_t task, at::Tensor& sums) {
    const auto [row, column] = tiles[static_cast<size_t>(task)];
    double* sum = sums.mutable_data_ptr<double>();
    std::fill(sum, sum + sums.numel(), 0.0);
    const kernels::GramTile tile{packed.data, packed.scale(),
                                 panels,      tokens,
                                 row,         std::min(kTileRows, panels - row),
                                 column,      std::min(kTileColumns, panels - column),
                                 sum};
    add_tile(tile);
    add_tile_to(gram, columns, tile);
  });
}

}  // namespace

GramSum::GramSum(at::Tensor& gram_II, int64_t tokens, at::Tensor& scratch)
    : gram_II_(gram_II),
      scratch_(scratch),
      panels_((gram_II.size(0) + kPanel - 1) / kPanel),
      most_(0) {
  const int64_t columns = gram_II.size(0);
  if (columns == 0) return;
  if (!gram_II.is_cpu()) {
    const at::TensorOptions options = gram_II.options().dtype(product_type(gram_II.device()));
    most_ = std::clamp<int64_t>(tokens, 1, kDeviceTokens);
    if (!scratch_.defined() || scratch_.numel() < most_ * columns || scratch_.scalar_type() != options.dtype() ||
        scratch_.device() != gram_II.device()) {
      scratch_ = at::Tensor();
      scratch_ = at::empty({most_ * columns}, options);
    }
    return;
  }
  most_ = tokens_together(panels_, columns * columns, tokens);
  const int64_t bytes = Packed{panels_, most_ / kGramChunk}.bytes(kGramChunk * columns);
  if (!scratch_.defined() || scratch_.scalar_type() != at::kByte || scratch_.numel() < bytes) {
    scratch_ = at::Tensor();
    scratch_ = at::empty({bytes}, at::kByte);
  }
}

void GramSum::add(const at::Tensor& x_TI) {
  check("gram_add", x_TI, gram_II_);
  const int64_t columns = gram_II_.size(0), tokens = x_TI.size(0);
  if (columns == 0) return;
  if (!gram_II_.is_cpu()) return add_on_device(x_TI);
  const float* x = x_TI.const_data_ptr<float>();
  for (int64_t t = 0, count = 0; t < tokens; t += count) {
    if (waiting_ == 0 && tokens - t >= kGramChunk) {
      count = std::min(most_ - filled_, (tokens - t) / kGramChunk * kGramChunk);
      pack(x + t * columns, count);
      continue;
    }
    count = std::min(kGramChunk - waiting_, tokens - t);
    std::copy(x + t * columns, x + (t + count) * columns, waiting() + waiting_ * columns);
    waiting_ += count;
    if (waiting_ == kGramChunk) pack(waiting(), std::exchange(waiting_, 0));
  }
}

// The chunk that is not full yet.
float* GramSum::waiting() { return Packed{panels_, most_ / kGramChunk, scratch_.mutable_data_ptr<uint8_t>()}.loose(); }

// Whole chunks, but for the last tokens of all.
void GramSum::pack(const float* x, int64_t tokens) {
  const Packed packed{panels_, most_ / kGramChunk, scratch_.mutable_data_ptr<uint8_t>()};
  ops::pack(x, tokens, gram_II_.size(0), packed, filled_ / kGramChunk, 0);
  filled_ += tokens;
  if (filled_ == most_) flush();
}

void GramSum::finish() {
  if (waiting_ > 0) pack(waiting(), std::exchange(waiting_, 0));
  flush();
}

void GramSum::add_on_device(const at::Tensor& x_TI) {
  for (int64_t t = 0; t < x_TI.size(0);) {
    const int64_t count = std::min(most_ - filled_, x_TI.size(0) - t), columns = gram_II_.size(0);
    scratch_.narrow(0, filled_ * columns, count * columns).view({count, columns}).copy_(x_TI.narrow(0, t, count));
    t += count;
    filled_ += count;
    if (filled_ == most_) flush();
  }
}

void GramSum::flush() {
  if (filled_ > 0 && !gram_II_.is_cpu()) {
    const int64_t columns = gram_II_.size(0);
    gram_add_panels(scratch_.narrow(0, 0, filled_ * columns).view({filled_, columns}), gram_II_, device_kernels());
  } else if (filled_ > 0)
    add_packed({panels_, most_ / kGramChunk, scratch_.mutable_data_ptr<uint8_t>()}, filled_, gram_II_.size(0),
               gram_II_.mutable_data_ptr<double>());
  filled_ = 0;
}

void gram_add(at::ArrayRef<at::Tensor> parts_TI, at::Tensor& gram_II) {
  int64_t tokens = 0;
  for (const at::Tensor& x_TI : parts_TI) {
    check("gram_add", x_TI, gram_II);
    tokens += x_TI.size(0);
  }
  at::Tensor scratch;
  GramSum sum(gram_II, tokens, scratch);
  for (const at::Tensor& x_TI : parts_TI) sum.add(x_TI);
  sum.finish();
}

void gram_add(const at::Tensor& x_TI, at::Tensor& gram_II) { gram_add(at::ArrayRef<at::Tensor>(x_TI), gram_II); }

namespace {

void check_cross(const at::Tensor& a_TM, const at::Tensor& b_TN, const at::Tensor& sum_MN) {
  for (const at::Tensor* x : {&a_TM, &b_TN}) {
    SWAGE_CHECK(x->dim() == 2 && x->scalar_type() == at::kFloat && x->is_contiguous() && x->is_cpu() &&
                    x->size(0) == a_TM.size(0),
                InvalidArgument, "cross_add: expected contiguous f32 matrices of one length on the CPU, got ",
                x->scalar_type(), " ", x->sizes(), " beside ", a_TM.sizes());
  }
  SWAGE_CHECK(sum_MN.dim() == 2 && sum_MN.size(0) == a_TM.size(1) && sum_MN.size(1) == b_TN.size(1) &&
                  sum_MN.scalar_type() == at::kDouble && sum_MN.is_contiguous() && sum_MN.is_cpu(),
              InvalidArgument, "cross_add: expected a contiguous f64 sum [", a_TM.size(1), ", ", b_TN.size(1),
              "], got ", sum_MN.scalar_type(), " ", sum_MN.sizes());
}

// A chunk holds the panels of a before those of b, so that all tiles of the product lie right of the diagonal.
void add_packed_cross(const Packed& packed, int64_t tokens, at::Tensor& sum_MN) {
  const int64_t m = sum_MN.size(0), n = sum_MN.size(1), down = panels_of(m), across = panels_of(n),
                steps = (across + kTileColumns - 1) / kTileColumns;
  double* to = sum_MN.mutable_data_ptr<double>();
  const auto make_sums = [] { return at::empty({kTileRows * kPanel * kTileColumns * kPanel}, at::kDouble); };
  parallel_tasks((down + kTileRows - 1) / kTileRows * steps, make_sums, [&](int64_t task, at::Tensor& sums) {
    const int64_t row = task / steps * kTileRows, column = task % steps * kTileColumns;
    double* sum = sums.mutable_data_ptr<double>();
    std::fill(sum, sum + sums.numel(), 0.0);
    const kernels::GramTile tile{packed.data,
                                 packed.scale(),
                                 packed.panels,
                                 tokens,
                                 row,
                                 std::min(kTileRows, down - row),
                                 down + column,
                                 std::min(kTileColumns, across - column),
                                 sum};
    add_tile(tile);
    const int64_t stride = tile.column_panels * kPanel, rows = std::min(tile.row_panels * kPanel, m - row * kPanel),
                  columns = std::min(stride, n - column * kPanel);
    for (int64_t r = 0; r < rows; ++r) {
      double* line = to + (row * kPanel + r) * n + column * kPanel;
      for (int64_t c = 0; c < columns; ++c) line[c] += sum[r * stride + c];
    }
  });
}

}  // namespace

void cross_add(const at::Tensor& a_TM, const at::Tensor& b_TN, at::Tensor& sum_MN) {
  check_cross(a_TM, b_TN, sum_MN);
  const int64_t tokens = a_TM.size(0), m = a_TM.size(1), n = b_TN.size(1), panels = panels_of(m) + panels_of(n);
  if (m == 0 || n == 0 || tokens == 0) return;
  const int64_t most = tokens_together(panels, m * n, tokens);
  Packed packed{panels, most / kGramChunk};
  at::Tensor scratch = at::empty({packed.bytes(0)}, at::kByte);
  packed.data = scratch.mutable_data_ptr<uint8_t>();
  for (int64_t first = 0; first < tokens; first += most) {
    const int64_t count = std::min(most, tokens - first);
    pack(a_TM.const_data_ptr<float>() + first * m, count, m, packed, 0, 0);
    pack(b_TN.const_data_ptr<float>() + first * n, count, n, packed, 0, panels_of(m));
    add_packed_cross(packed, count, sum_MN);
  }
}

void gram_add_rows(const at::Tensor& x_TI, const at::Tensor& rows_R, at::Tensor& gram_II) {
  SWAGE_CHECK(rows_R.dim() == 1 && rows_R.scalar_type() == at::kLong, InvalidArgument,
              "gram_add_rows: the rows must be a vector of int64, got ", rows_R.scalar_type(), " ", rows_R.sizes());
  gram_add(at::index_select(x_TI, 0, rows_R), gram_II);
}

void gram_add_reference(const at::Tensor& x_TI, at::Tensor& gram_II) {
  check("gram_add_reference", x_TI, gram_II);
  for (int64_t t = 0; t < x_TI.size(0); t += kReferenceRun) {
    const at::Tensor run_TI = x_TI.narrow(0, t, std::min(kReferenceRun, x_TI.size(0) - t));
    gram_II.add_(at::mm(run_TI.t(), run_TI));
  }
}

void gram_add_panels(const at::Tensor& x_TI, at::Tensor& gram_II, const kernels::DeviceKernels& kernels) {
  const at::Device device = gram_II.device();
  const int64_t columns = gram_II.size(0), step = std::max(kLeastPanel, (columns + kDevicePanels - 1) / kDevicePanels);
  for (int64_t first = 0; first < columns; first += step) {
    const int64_t count = std::min(step, columns - first);
    const at::Tensor tile = product(x_TI.narrow(1, first, count).t(), x_TI.narrow(1, first, columns - first));
    run("gram_add", kernels.gram_add,
        kernels::GramAdd{data_on<float>(device, tile, "gram_add"), count, columns - first, first, first,
                         mutable_data_on<double>(device, gram_II, "gram_add"), columns},
        device);
  }
}

void gram_finish(at::Tensor& gram_II) {
  SWAGE_CHECK(gram_II.dim() == 2 && gram_II.size(0) == gram_II.size(1) && gram_II.scalar_type() == at::kDouble &&
                  gram_II.is_contiguous(),
              InvalidArgument, "gram_finish: expected a contiguous square f64 matrix, got ", gram_II.scalar_type(), " ",
              gram_II.sizes());
  if (!gram_II.is_cpu()) {
    gram_II.triu_();
    gram_II.add_(gram_II.triu(1).t());
    return;
  }
  constexpr int64_t kBlock = 32;  // both sides of a block's copy stay in the L1 cache
  const int64_t n = gram_II.size(0), blocks = (n + kBlock - 1) / kBlock;
  double* gram = gram_II.mutable_data_ptr<double>();
  parallel_tasks(
      blocks, [] { return 0; },
      [&](int64_t block, int) {
        for (int64_t column0 = 0; column0 <= block * kBlock; column0 += kBlock) {
          for (int64_t r = block * kBlock; r < std::min(n, (block + 1) * kBlock); ++r) {
            for (int64_t c = column0; c < std::min(r, column0 + kBlock); ++c) gram[r * n + c] = gram[c * n + r];
          }
        }
      });
}

}  // namespace swage::ops
