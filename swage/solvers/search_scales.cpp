// Scales by trying factors of each group's range: sixteen groups side by side where a group is part of a row, else a
// group's weights spread over all lanes.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "swage/base/error.h"
#include "swage/ops/device.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/grid_internal.h"
#include "swage/solvers/range_search.h"

namespace swage::solvers {

std::vector<float> factors_of(const ScaleSearch& search, kernels::ScaleFormat format) {
  if (format == kernels::ScaleFormat::PowerOfTwo) return {1.0f, 2.0f, 0.5f};
  SWAGE_CHECK(search.steps > 0 && search.norm > 0 && search.largest - search.step * (search.steps - 1) > 0,
              InvalidArgument, "scale search: factors from ", search.largest, " in ", search.steps, " steps of ",
              search.step, " and norm ", search.norm, " must all be positive");
  std::vector<float> factors;
  for (int i = 0; i < search.steps; ++i) factors.push_back(static_cast<float>(search.largest - search.step * i));
  return factors;
}

namespace {

using kernels::kSearchLanes;

// Weights of a tile that one task sums up: fixed, so that sums do not depend on the number of threads.
constexpr int64_t kPieceWeights = 1 << 14;

// What a search finds: an array [down * across] each, or null.
struct Outcome {
  float* scale;
  float* zero;
  int32_t* step;                  // index of the factor
  std::vector<uint8_t> improved;  // [steps]: 1 where a group found its best so far
};

// What all tasks of a search share.
struct Search {
  const TiledWeight& weight;
  const Formula& formula;
  std::vector<float> factors;
  float norm;
  const float* importance;  // [columns], or null

  kernels::ScaleSearchPanel panel(const float* values, int64_t count, const float* low, const float* high, float* scale,
                                  float* zero) const {
    return {values,
            count,
            low,
            high,
            factors.data(),
            static_cast<int64_t>(factors.size()),
            norm,
            formula.codes,
            formula.symmetric,
            formula.divisor,
            formula.rule,
            scale,
            zero};
  }
};

// Scratch memory of one worker.
struct Scratch {
  at::Tensor weight, importance;
  std::vector<uint8_t> improved;
  alignas(64) int32_t step[kSearchLanes];
  alignas(64) float low[kSearchLanes], high[kSearchLanes], scale[kSearchLanes], zero[kSearchLanes];
};

auto scratch_maker(const Search& search, int64_t weights) {
  return [&search, weights] {
    Scratch scratch{};
    scratch.weight = at::empty({weights}, at::kFloat);
    if (search.importance != nullptr) scratch.importance = at::empty({weights}, at::kFloat);
    scratch.improved.assign(search.factors.size(), 0);
    return scratch;
  };
}

// Puts groups first .. first + lanes, each part of a row, side by side; lanes without a group hold zeros.
void fill_side_by_side(const Search& search, int64_t first, int64_t lanes, Scratch& scratch) {
  const TiledWeight& weight = search.weight;
  constexpr int64_t kBlock = 16;  // columns copied for all lanes before the next ones: 16 lines of the panel
  const Tiling& tiles = weight.tiles;
  const auto place = [&](int64_t lane) {
    return std::pair{(first + lane) / tiles.across, (first + lane) % tiles.across * tiles.tile_columns};
  };
  float* to = scratch.weight.mutable_data_ptr<float>();
  float* importance = search.importance == nullptr ? nullptr : scratch.importance.mutable_data_ptr<float>();
  for (int64_t lane = 0; lane < kSearchLanes; ++lane) {
    const auto [row, column] = place(std::min(lane, lanes - 1));
    const Range range = lane < lanes ? with_zero(range_of(weight, row, column, tiles.tile_columns)) : Range{0, 0};
    scratch.low[lane] = range.low;
    scratch.high[lane] = range.high;
  }
  for (int64_t i0 = 0; i0 < tiles.tile_columns; i0 += kBlock) {
    for (int64_t lane = 0; lane < kSearchLanes; ++lane) {
      const auto [row, column] = place(std::min(lane, lanes - 1));
      const void* from = weight.at(row, column);
      for (int64_t i = i0; i < std::min(i0 + kBlock, tiles.tile_columns); ++i) {
        to[i * kSearchLanes + lane] = lane < lanes ? kernels::load_as_float(from, weight.format, i) : 0.0f;
        if (importance != nullptr) importance[i * kSearchLanes + lane] = search.importance[column + i];
      }
    }
  }
}

void search_groups_of_rows(const Search& search, Outcome& out) {
  const Tiling& tiles = search.weight.tiles;
  const int64_t count = tiles.down * tiles.across;
  std::mutex lock;  // of out.improved
  const auto run = [&](int64_t task, Scratch& scratch) {
    const int64_t first = task * kSearchLanes, lanes = std::min(kSearchLanes, count - first);
    fill_side_by_side(search, first, lanes, scratch);
    kernels::ScaleSearchPanel panel = search.panel(scratch.weight.const_data_ptr<float>(), tiles.tile_columns,
                                                   scratch.low, scratch.high, scratch.scale, scratch.zero);
    if (search.importance != nullptr) panel.importance = scratch.importance.const_data_ptr<float>();
    panel.step = scratch.step;
    panel.improved = scratch.improved.data();
    kernels::fast_kernels().search_scales(panel);
    if (out.scale != nullptr) std::copy(scratch.scale, scratch.scale + lanes, out.scale + first);
    if (out.zero != nullptr) std::copy(scratch.zero, scratch.zero + lanes, out.zero + first);
    if (out.step != nullptr) std::copy(scratch.step, scratch.step + lanes, out.step + first);
    const std::lock_guard guard(lock);
    for (size_t i = 0; i < scratch.improved.size(); ++i) out.improved[i] |= scratch.improved[i];
  };
  ops::parallel_tasks((count + kSearchLanes - 1) / kSearchLanes,
                      scratch_maker(search, tiles.tile_columns * kSearchLanes), run);
}

// Part of a tile: its weights `begin` .. `end`, counted row by row.
struct Piece {
  int64_t tile, begin, end;
};

std::vector<Piece> pieces_of(const Tiling& tiles) {
  std::vector<Piece> pieces;
  for (int64_t tile = 0; tile < tiles.down * tiles.across; ++tile) {
    const int64_t height = std::min(tiles.tile_rows, tiles.rows - tile / tiles.across * tiles.tile_rows);
    const int64_t width = std::min(tiles.tile_columns, tiles.columns - tile % tiles.across * tiles.tile_columns);
    for (int64_t begin = 0; begin < height * width; begin += kPieceWeights) {
      pieces.push_back({tile, begin, std::min(begin + kPieceWeights, height * width)});
    }
  }
  return pieces;
}

// The piece's weights, and zeros up to whole vectors. Returns weights a lane.
int64_t fill_piece(const Search& search, const Piece& piece, Scratch& scratch) {
  const TiledWeight& weight = search.weight;
  const Tiling& tiles = weight.tiles;
  float* to = scratch.weight.mutable_data_ptr<float>();
  float* importance = search.importance == nullptr ? nullptr : scratch.importance.mutable_data_ptr<float>();
  const int64_t row0 = piece.tile / tiles.across * tiles.tile_rows,
                column0 = piece.tile % tiles.across * tiles.tile_columns;
  const int64_t width = std::min(tiles.tile_columns, tiles.columns - column0);
  for (int64_t k = piece.begin; k < piece.end;) {
    const int64_t count = std::min(width - k % width, piece.end - k);
    const void* from = weight.at(row0 + k / width, column0 + k % width);
    for (int64_t i = 0; i < count; ++i) to[k - piece.begin + i] = kernels::load_as_float(from, weight.format, i);
    if (importance != nullptr)
      std::copy_n(search.importance + column0 + k % width, count, importance + k - piece.begin);
    k += count;
  }
  const int64_t size = piece.end - piece.begin, count = (size + kSearchLanes - 1) / kSearchLanes;
  std::fill(to + size, to + count * kSearchLanes, 0.0f);
  if (importance != nullptr) std::fill(importance + size, importance + count * kSearchLanes, 0.0f);
  return count;
}

// What every piece's task leaves: error, scale and zero point of each candidate, [pieces, steps].
struct Tried {
  std::vector<double> error;
  std::vector<float> scale, zero;
};

// Adds up the pieces of each tile in order and picks the best candidate.
void pick_best(const std::vector<Piece>& pieces, const Tried& tried, size_t steps, Outcome& out) {
  for (size_t first = 0, end = 0; first < pieces.size(); first = end) {
    std::vector<double> sum(steps, 0.0);
    for (end = first; end < pieces.size() && pieces[end].tile == pieces[first].tile; ++end) {
      for (size_t i = 0; i < steps; ++i) sum[i] += tried.error[end * steps + i];
    }
    size_t best = 0;
    out.improved[0] = 1;
    for (size_t i = 1; i < steps; ++i) {
      if (!(sum[i] < sum[best])) continue;
      best = i;
      out.improved[i] = 1;
    }
    const int64_t tile = pieces[first].tile;
    if (out.scale != nullptr) out.scale[tile] = tried.scale[first * steps + best];
    if (out.zero != nullptr) out.zero[tile] = tried.zero[first * steps + best];
    if (out.step != nullptr) out.step[tile] = static_cast<int32_t>(best);
  }
}

void search_tiles(const Search& search, Outcome& out) {
  const std::vector<Piece> pieces = pieces_of(search.weight.tiles);
  const std::vector<Range> ranges = ranges_of_tiles(search.weight);
  const size_t steps = search.factors.size();
  Tried tried{std::vector<double>(pieces.size() * steps), std::vector<float>(pieces.size() * steps),
              std::vector<float>(pieces.size() * steps)};
  const auto run = [&](int64_t task, Scratch& scratch) {
    const Piece& piece = pieces[static_cast<size_t>(task)];
    const Range range = with_zero(ranges[static_cast<size_t>(piece.tile)]);
    std::fill_n(scratch.low, kSearchLanes, range.low);
    std::fill_n(scratch.high, kSearchLanes, range.high);
    const int64_t count = fill_piece(search, piece, scratch);
    const size_t at = static_cast<size_t>(task) * steps;
    kernels::ScaleSearchPanel panel = search.panel(scratch.weight.const_data_ptr<float>(), count, scratch.low,
                                                   scratch.high, &tried.scale[at], &tried.zero[at]);
    if (search.importance != nullptr) panel.importance = scratch.importance.const_data_ptr<float>();
    panel.error = &tried.error[at];
    kernels::fast_kernels().search_scales(panel);
  };
  ops::parallel_tasks(static_cast<int64_t>(pieces.size()), scratch_maker(search, kPieceWeights), run);
  pick_best(pieces, tried, steps, out);
}

void search_all(const Search& search, Outcome& out) {
  out.improved.assign(search.factors.size(), 0);
  if (search.weight.tiles.tile_rows == 1)
    search_groups_of_rows(search, out);
  else
    search_tiles(search, out);
}

}  // namespace

void search_scales(const TiledWeight& weight, const Formula& formula, const ScaleSearch& search,
                   const float* importance, float* scale, float* zero) {
  Outcome out{scale, zero, nullptr, {}};
  search_all({weight, formula, factors_of(search, formula.rule.format), static_cast<float>(search.norm), importance},
             out);
}

namespace {

// Steps that are looked at if the search ends after `patience` in a row that improve no group.
size_t steps_within(const std::vector<uint8_t>& improved, int64_t patience) {
  int64_t idle = 0;
  for (size_t i = 0; i < improved.size(); ++i) {
    idle = improved[i] != 0 ? 0 : idle + 1;
    if (patience > 0 && idle >= patience) return i + 1;
  }
  return improved.size();
}

}  // namespace

at::Tensor best_range_factors(const at::Tensor& w_OI, const GridSpec& spec, const FactorSearch& search) {
  SWAGE_CHECK(ops::is_host_matrix(w_OI), InvalidArgument, "range search: expected a matrix on the CPU, got ",
              w_OI.sizes());
  SWAGE_CHECK(
      !search.factors.empty() && search.norm > 0 && *std::min_element(search.factors.begin(), search.factors.end()) > 0,
      InvalidArgument, "range search: expected positive factors and a positive norm");
  const at::Tensor& importance = search.importance_I;
  SWAGE_CHECK(!importance.defined() || (importance.dim() == 1 && importance.size(0) == w_OI.size(1) &&
                                        importance.scalar_type() == at::kFloat),
              InvalidArgument, "range search: expected an f32 importance for each of ", w_OI.size(1), " columns");
  const at::Tensor weight_OI = w_OI.contiguous(),
                   importance_I = importance.defined() ? importance.contiguous() : importance;
  const TiledWeight weight{static_cast<const char*>(weight_OI.const_data_ptr()),
                           number_format_of(w_OI.scalar_type(), "range search"),
                           tiling_of(spec, w_OI.size(0), w_OI.size(1))};
  const Formula formula = formula_of(spec, {});
  Search all{weight, formula, search.factors, static_cast<float>(search.norm),
             importance.defined() ? importance_I.const_data_ptr<float>() : nullptr};
  std::vector<int32_t> step(static_cast<size_t>(weight.tiles.down * weight.tiles.across));
  Outcome out{nullptr, nullptr, step.data(), {}};
  search_all(all, out);
  const size_t within = steps_within(out.improved, search.patience);
  if (within < all.factors.size() && *std::max_element(step.begin(), step.end()) >= static_cast<int32_t>(within)) {
    all.factors.resize(within);  // a group found a better one later, which the search would not have seen
    search_all(all, out);
  }
  at::Tensor factors = at::empty(weight.tiles.scale_shape, at::kFloat);
  for (size_t i = 0; i < step.size(); ++i)
    factors.mutable_data_ptr<float>()[i] = search.factors[static_cast<size_t>(step[i])];
  return factors;
}

GroupRanges ranges_of_groups(const at::Tensor& w_OI, const GridSpec& spec) {
  SWAGE_CHECK(ops::is_host_matrix(w_OI), InvalidArgument, "ranges: expected a matrix on the CPU, got ", w_OI.sizes());
  const at::Tensor weight_OI = w_OI.contiguous();
  const TiledWeight weight{static_cast<const char*>(weight_OI.const_data_ptr()),
                           number_format_of(w_OI.scalar_type(), "ranges"), tiling_of(spec, w_OI.size(0), w_OI.size(1))};
  const std::vector<Range> ranges = ranges_of_tiles(weight);
  GroupRanges out{at::empty(weight.tiles.scale_shape, at::kFloat), at::empty(weight.tiles.scale_shape, at::kFloat)};
  for (size_t i = 0; i < ranges.size(); ++i) {
    out.low.mutable_data_ptr<float>()[i] = ranges[i].low;
    out.high.mutable_data_ptr<float>()[i] = ranges[i].high;
  }
  return out;
}

}  // namespace swage::solvers
