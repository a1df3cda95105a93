// Scales by trying factors of each group's range: sixteen groups side by side where a group is part of a row, else a group's
// weights spread over all lanes.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/grid_internal.h"

namespace swage::solvers {
namespace {

using kernels::kSearchLanes;

// Weights of a tile that one task sums up: fixed, so that sums do not depend on the number of threads.
constexpr int64_t kPieceWeights = 1 << 14;

std::vector<float> factors_of(const ScaleSearch& search, kernels::ScaleFormat format) {
  if (format == kernels::ScaleFormat::PowerOfTwo) return {1.0f, 2.0f, 0.5f};
  SWAGE_CHECK(search.steps > 0 && search.norm > 0 && search.largest - search.step * (search.steps - 1) > 0, InvalidArgument,
              "scale search: factors from ", search.largest, " in ", search.steps, " steps of ", search.step, " and norm ", search.norm,
              " must all be positive");
  std::vector<float> factors;
  for (int i = 0; i < search.steps; ++i) factors.push_back(static_cast<float>(search.largest - search.step * i));
  return factors;
}

// What all tasks of a search share.
struct Search {
  const TiledWeight& weight;
  const Formula& formula;
  std::vector<float> factors;
  float norm;

  kernels::ScaleSearchPanel panel(const float* values, int64_t count, const float* low, const float* high, float* scale, float* zero) const {
    return {values, count, low, high, factors.data(), static_cast<int64_t>(factors.size()), norm, formula.codes, formula.symmetric,
            formula.divisor, formula.rule, scale, zero};
  }
};

// Scratch memory of one worker.
struct Scratch {
  at::Tensor weight;
  alignas(64) float low[kSearchLanes], high[kSearchLanes], scale[kSearchLanes], zero[kSearchLanes];
};

auto scratch_maker(int64_t weights) {
  return [weights] {
    Scratch scratch{};
    scratch.weight = at::empty({weights}, at::kFloat);
    return scratch;
  };
}

// Puts groups first .. first + lanes, each part of a row, side by side; lanes without a group hold zeros.
void fill_side_by_side(const TiledWeight& weight, int64_t first, int64_t lanes, Scratch& scratch) {
  constexpr int64_t kBlock = 16;  // columns copied for all lanes before the next ones: 16 lines of the panel
  const Tiling& tiles = weight.tiles;
  const auto place = [&](int64_t lane) { return std::pair{(first + lane) / tiles.across, (first + lane) % tiles.across * tiles.tile_columns}; };
  float* to = scratch.weight.mutable_data_ptr<float>();
  for (int64_t lane = 0; lane < kSearchLanes; ++lane) {
    const auto [row, column] = place(std::min(lane, lanes - 1));
    const Range range = lane < lanes ? range_of(weight, row, column, tiles.tile_columns) : Range{0, 0};
    scratch.low[lane] = range.low;
    scratch.high[lane] = range.high;
  }
  for (int64_t i0 = 0; i0 < tiles.tile_columns; i0 += kBlock) {
    for (int64_t lane = 0; lane < kSearchLanes; ++lane) {
      const auto [row, column] = place(std::min(lane, lanes - 1));
      const void* from = weight.at(row, column);
      for (int64_t i = i0; i < std::min(i0 + kBlock, tiles.tile_columns); ++i) {
        to[i * kSearchLanes + lane] = lane < lanes ? kernels::load_as_float(from, weight.format, i) : 0.0f;
      }
    }
  }
}

void search_groups_of_rows(const Search& search, float* scale, float* zero) {
  const Tiling& tiles = search.weight.tiles;
  const int64_t count = tiles.down * tiles.across;
  const auto run = [&](int64_t task, Scratch& scratch) {
    const int64_t first = task * kSearchLanes, lanes = std::min(kSearchLanes, count - first);
    fill_side_by_side(search.weight, first, lanes, scratch);
    kernels::fast_kernels().search_scales(
        search.panel(scratch.weight.const_data_ptr<float>(), tiles.tile_columns, scratch.low, scratch.high, scratch.scale, scratch.zero));
    std::copy(scratch.scale, scratch.scale + lanes, scale + first);
    if (zero != nullptr) std::copy(scratch.zero, scratch.zero + lanes, zero + first);
  };
  ops::parallel_tasks((count + kSearchLanes - 1) / kSearchLanes, scratch_maker(tiles.tile_columns * kSearchLanes), run);
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
int64_t fill_piece(const TiledWeight& weight, const Piece& piece, float* to) {
  const Tiling& tiles = weight.tiles;
  const int64_t row0 = piece.tile / tiles.across * tiles.tile_rows, column0 = piece.tile % tiles.across * tiles.tile_columns;
  const int64_t width = std::min(tiles.tile_columns, tiles.columns - column0);
  for (int64_t k = piece.begin; k < piece.end;) {
    const int64_t count = std::min(width - k % width, piece.end - k);
    const void* from = weight.at(row0 + k / width, column0 + k % width);
    for (int64_t i = 0; i < count; ++i) to[k - piece.begin + i] = kernels::load_as_float(from, weight.format, i);
    k += count;
  }
  const int64_t size = piece.end - piece.begin, count = (size + kSearchLanes - 1) / kSearchLanes;
  std::fill(to + size, to + count * kSearchLanes, 0.0f);
  return count;
}

void search_tiles(const Search& search, float* scale, float* zero) {
  const std::vector<Piece> pieces = pieces_of(search.weight.tiles);
  const std::vector<Range> ranges = ranges_of_tiles(search.weight);
  const size_t steps = search.factors.size();
  std::vector<double> error(pieces.size() * steps);
  std::vector<float> tried(pieces.size() * steps), tried_zero(pieces.size() * steps);
  const auto run = [&](int64_t task, Scratch& scratch) {
    const Piece& piece = pieces[static_cast<size_t>(task)];
    const Range& range = ranges[static_cast<size_t>(piece.tile)];
    std::fill_n(scratch.low, kSearchLanes, range.low);
    std::fill_n(scratch.high, kSearchLanes, range.high);
    float* values = scratch.weight.mutable_data_ptr<float>();
    const int64_t count = fill_piece(search.weight, piece, values);
    const size_t at = static_cast<size_t>(task) * steps;
    kernels::ScaleSearchPanel panel = search.panel(values, count, scratch.low, scratch.high, &tried[at], &tried_zero[at]);
    panel.error = &error[at];
    kernels::fast_kernels().search_scales(panel);
  };
  ops::parallel_tasks(static_cast<int64_t>(pieces.size()), scratch_maker(kPieceWeights), run);
  for (size_t first = 0; first < pieces.size();) {  // the pieces of one tile, added up in order
    std::vector<double> sum(steps, 0.0);
    size_t end = first;
    for (; end < pieces.size() && pieces[end].tile == pieces[first].tile; ++end) {
      for (size_t i = 0; i < steps; ++i) sum[i] += error[end * steps + i];
    }
    const size_t best = static_cast<size_t>(std::min_element(sum.begin(), sum.end()) - sum.begin());
    scale[pieces[first].tile] = tried[first * steps + best];
    if (zero != nullptr) zero[pieces[first].tile] = tried_zero[first * steps + best];
    first = end;
  }
}

}  // namespace

void search_scales(const TiledWeight& weight, const Formula& formula, const ScaleSearch& search, float* scale, float* zero) {
  const Search all{weight, formula, factors_of(search, formula.rule.format), static_cast<float>(search.norm)};
  if (weight.tiles.tile_rows == 1) search_groups_of_rows(all, scale, zero);
  else search_tiles(all, scale, zero);
}

}  // namespace swage::solvers
