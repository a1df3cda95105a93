#include "swage/ops/paged_attention.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "swage/base/error.h"
#include "swage/kernels/kernels.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::ops {
namespace {

constexpr int64_t kTile = 16;                        // queries of a sequence that meet a block of keys together
constexpr int64_t kWorthAThread = int64_t{1} << 18;  // products

using kernels::CacheFormat, kernels::CodeKind;

// Where the numbers of token `at` of group g go: every `stride`th one from `first` on, of `size`.
struct Place {
  int64_t size;
  bool transposed;  // [G, size, 16], not [G, 16, size]

  int64_t first(int64_t at, int64_t g) const {
    return g * size * kBlockTokens + (transposed ? at % kBlockTokens : at % kBlockTokens * size);
  }
  int64_t stride() const { return transposed ? kBlockTokens : 1; }
};

template <class Number>
void scatter(const at::Tensor& x_tGE, Blocks blocks, int64_t offset, int64_t position, bool transposed) {
  const int64_t tokens = x_tGE.size(0), groups = x_tGE.size(1);
  const Place place{x_tGE.size(2), transposed};
  const auto* from = static_cast<const Number*>(x_tGE.const_data_ptr());
  for (int64_t at = position; at < position + tokens; ++at) {
    auto* block = reinterpret_cast<Number*>(blocks[size_t(at / kBlockTokens)] + offset);
    for (int64_t g = 0; g < groups; ++g, from += place.size) {
      Number* to = block + place.first(at, g);
      for (int64_t e = 0; e < place.size; ++e) to[e * place.stride()] = from[e];
    }
  }
}

uint8_t code_of(CodeKind kind, float x) {
  const float most = kernels::largest_of(kind), least = kind == CodeKind::Int ? -128.0f : -most;
  return kernels::encode_code(kind, kernels::round_to_code_value(kind, std::clamp(x, least, most)));
}

// Codes, and the scale of each token and group `scale_offset` from the block's beginning.
void scatter_codes(const at::Tensor& x_tGE, CodeKind kind, Blocks blocks, int64_t offset, int64_t scale_offset,
                   int64_t position, bool transposed, const at::Tensor& scale_G) {
  const int64_t tokens = x_tGE.size(0), groups = x_tGE.size(1);
  const Place place{x_tGE.size(2), transposed};
  const float* given = scale_G.defined() ? scale_G.const_data_ptr<float>() : nullptr;
  const auto* from = x_tGE.const_data_ptr<float>();
  for (int64_t at = position; at < position + tokens; ++at) {
    std::byte* block = blocks[size_t(at / kBlockTokens)];
    auto* scales = reinterpret_cast<float*>(block + scale_offset);
    for (int64_t g = 0; g < groups; ++g, from += place.size) {
      float most = 0;
      for (int64_t e = 0; e < place.size; ++e) most = std::max(most, std::fabs(from[e]));
      const float scale = given != nullptr ? given[g] : most / kernels::largest_of(kind);
      const float inverse = scale > 0x1p-126f ? 1 / scale : 0;
      scales[g * kBlockTokens + at % kBlockTokens] = scale;
      auto* to = reinterpret_cast<uint8_t*>(block + offset) + place.first(at, g);
      for (int64_t e = 0; e < place.size; ++e) to[e * place.stride()] = code_of(kind, from[e] * inverse);
    }
  }
}

// `scale_offset`: of codes.
void store(const at::Tensor& x_tGE, CacheFormat format, Blocks blocks, int64_t offset, int64_t scale_offset,
           int64_t position, bool transposed, const at::Tensor& scale_G = {}) {
  const at::ScalarType type = format == CacheFormat::BF16  ? at::kBFloat16
                              : format == CacheFormat::F16 ? at::kHalf
                                                           : at::kFloat;
  const at::Tensor x = x_tGE.to(type).contiguous();
  if (kernels::has_scales(format)) {
    const CodeKind kind = format == CacheFormat::Int8 ? CodeKind::Int : CodeKind::E4M3;
    return scatter_codes(x, kind, blocks, offset, scale_offset, position, transposed, scale_G);
  }
  if (format == CacheFormat::F32) return scatter<float>(x, blocks, offset, position, transposed);
  scatter<uint16_t>(x, blocks, offset, position, transposed);
}

void check_blocks(Blocks blocks, int64_t tokens) {
  SWAGE_CHECK(int64_t(blocks.size()) * kBlockTokens >= tokens, Internal, "a sequence of ", tokens, " tokens has ",
              blocks.size(), " blocks of the cache");
}

// One key-value head with a few queries of one sequence.
struct Task {
  const PagedQueries* sequence;
  int64_t first, count, group;

  int64_t position(int64_t t) const { return sequence->position + first + t; }
};

class Tile {
 public:
  Tile(const PagedLayer& layer, const PagedForm& form, const at::Tensor& q_THE, at::Tensor& out_THV)
      : layer_(layer),
        form_(form),
        heads_(q_THE.size(1)),
        repeats_(heads_ / layer.groups),
        query_(q_THE.const_data_ptr<float>()),
        out_(out_THV.mutable_data_ptr<float>()) {}

  void run(const Task& task) {
    task_ = task;
    const int64_t rows = task.count * repeats_, last = task.position(task.count - 1);
    base_ = first_seen(0) / kBlockTokens * kBlockTokens;
    width_ = (last / kBlockTokens + 1) * kBlockTokens - base_;
    rows_.resize(size_t(rows * layer_.key_size));
    scores_.resize(size_t(rows * width_));
    mixed_.assign(size_t(rows * layer_.value_size), 0.0f);
    const int64_t keys = repeats_ * layer_.key_size, values = repeats_ * layer_.value_size;
    for (int64_t t = 0; t < task.count; ++t)
      std::copy_n(query_ + head_of(t) * layer_.key_size, keys, rows_.data() + t * keys);
    score(rows);
    for (int64_t t = 0; t < task.count; ++t) weigh(t);
    for (int64_t block = base_ / kBlockTokens; block <= last / kBlockTokens; ++block) mix(block);
    for (int64_t t = 0; t < task.count; ++t)
      std::copy_n(mixed_.data() + t * values, values, out_ + head_of(t) * layer_.value_size);
  }

 private:
  // The group's first head of query t, counted over all tokens.
  int64_t head_of(int64_t t) const {
    return (task_.sequence->first + task_.first + t) * heads_ + task_.group * repeats_;
  }

  // Position of the first key that query t sees.
  int64_t first_seen(int64_t t) const {
    const int64_t at = task_.position(t);
    const int64_t by_window = form_.window > 0 ? std::max<int64_t>(0, at - form_.window + 1) : 0;
    return form_.chunk > 0 ? std::max(by_window, at / form_.chunk * form_.chunk) : by_window;
  }

  const std::byte* block(int64_t index) const { return task_.sequence->blocks[size_t(index)]; }

  // Of the group's codes, whose scales begin at `offset`.
  const float* scales(int64_t index, int64_t offset) const {
    if (!kernels::has_scales(layer_.format)) return nullptr;
    return reinterpret_cast<const float*>(block(index) + offset) + task_.group * kBlockTokens;
  }

  void score(int64_t rows) {
    const int64_t bytes = layer_.key_bytes() / layer_.groups;
    for (int64_t at = 0; at < width_; at += kBlockTokens) {
      const int64_t index = (base_ + at) / kBlockTokens;
      kernels::fast_kernels().block_scores(
          {rows_.data(), rows, layer_.key_size, block(index) + layer_.offset + task_.group * bytes, layer_.format,
           scores_.data() + at, width_, scales(index, layer_.offset + layer_.key_bytes())});
    }
  }

  void weigh(int64_t t) {
    const PagedQueries& sequence = *task_.sequence;
    const int64_t keys = sequence.position + sequence.rows;
    const uint8_t* chosen =
        sequence.chosen.empty() ? nullptr : sequence.chosen.data() + (task_.first + t) * keys + base_;
    const float* slopes = form_.slopes_H.defined() ? form_.slopes_H.const_data_ptr<float>() : nullptr;
    const float* sinks = form_.sinks_H.defined() ? form_.sinks_H.const_data_ptr<float>() : nullptr;
    for (int64_t r = 0; r < repeats_; ++r) {
      const int64_t head = task_.group * repeats_ + r;
      kernels::fast_kernels().score_weights({scores_.data() + (t * repeats_ + r) * width_, base_, first_seen(t),
                                             task_.position(t), float(form_.scale), float(form_.softcap),
                                             slopes == nullptr ? 0.0f : slopes[head],
                                             sinks == nullptr ? nullptr : sinks + head, chosen});
    }
  }

  // Tokens of a block that query t sees.
  std::pair<int64_t, int64_t> seen(int64_t index, int64_t t) const {
    const int64_t start = index * kBlockTokens;
    return {std::clamp<int64_t>(first_seen(t) - start, 0, kBlockTokens),
            std::clamp<int64_t>(task_.position(t) + 1 - start, 0, kBlockTokens)};
  }

  // Queries that see the same tokens of the block, together.
  void mix(int64_t index) {
    for (int64_t t = 0; t < task_.count;) {
      const auto range = seen(index, t);
      int64_t next = t + 1;
      while (next < task_.count && seen(index, next) == range) ++next;
      if (range.first < range.second) mix(index, t, next, range);
      t = next;
    }
  }

  void mix(int64_t index, int64_t t, int64_t next, std::pair<int64_t, int64_t> range) {
    const int64_t bytes = layer_.value_bytes() / layer_.groups;
    kernels::fast_kernels().block_values({scores_.data() + t * repeats_ * width_ + index * kBlockTokens - base_,
                                          (next - t) * repeats_, width_, range.first, range.second,
                                          block(index) + layer_.value_offset() + task_.group * bytes, layer_.format,
                                          layer_.value_size, mixed_.data() + t * repeats_ * layer_.value_size,
                                          scales(index, layer_.value_offset() + layer_.value_bytes())});
  }

  const PagedLayer& layer_;
  const PagedForm& form_;
  const int64_t heads_, repeats_;
  const float* query_;
  float* out_;
  Task task_ = {};
  int64_t base_ = 0, width_ = 0;  // positions that the scores are of: from the beginning of a block to the end of one
  std::vector<float> rows_, scores_, mixed_;
};

}  // namespace

void store_tokens(const PagedLayer& layer, Blocks blocks, int64_t position, const at::Tensor& key_tGE,
                  const at::Tensor& value_tGV, const at::Tensor& index_tE, const KeptScales& scales) {
  check_blocks(blocks, position + key_tGE.size(0));
  store(key_tGE, layer.format, blocks, layer.offset, layer.offset + layer.key_bytes(), position, true, scales.key_G);
  store(value_tGV, layer.format, blocks, layer.value_offset(), layer.value_offset() + layer.value_bytes(), position,
        false, scales.value_G);
  if (index_tE.defined())
    store(index_tE.unsqueeze(1), CacheFormat::F32, blocks, layer.index_offset(), 0, position, true);
}

at::Tensor attend_paged(const PagedLayer& layer, std::span<const PagedQueries> sequences, const at::Tensor& q_THE,
                        const PagedForm& form) {
  const at::Tensor q = q_THE.to(at::kFloat).contiguous();
  at::Tensor out_THV = at::empty({q.size(0), q.size(1), layer.value_size}, q.options());
  std::vector<Task> tasks;
  int64_t products = 0;
  for (const PagedQueries& sequence : sequences) {
    check_blocks(sequence.blocks, sequence.position + sequence.rows);
    products += sequence.rows * q.size(1) * (sequence.position + sequence.rows) * layer.key_size;
    for (int64_t first = 0; first < sequence.rows; first += kTile) {
      for (int64_t group = 0; group < layer.groups; ++group)
        tasks.push_back({&sequence, first, std::min(kTile, sequence.rows - first), group});
    }
  }
  parallel_tasks(
      int64_t(tasks.size()), [&] { return Tile(layer, form, q, out_THV); },
      [&](int64_t i, Tile& tile) { tile.run(tasks[size_t(i)]); }, products >= kWorthAThread);
  return out_THV.view({q.size(0), -1});
}

std::vector<uint8_t> chosen_keys(const PagedLayer& layer, const PagedQueries& queries, const at::Tensor& q_tIE,
                                 const at::Tensor& weights_tI, int64_t count) {
  const int64_t keys = queries.position + queries.rows, heads = q_tIE.size(1);
  if (keys <= count) return {};
  const at::Tensor q = q_tIE.to(at::kFloat).contiguous(), w = weights_tI.to(at::kFloat).contiguous();
  const int64_t blocks = (keys + kBlockTokens - 1) / kBlockTokens, width = blocks * kBlockTokens,
                offset = layer.index_offset();
  std::vector<uint8_t> out(size_t(queries.rows * keys), uint8_t{0});
  std::vector<float> by_head(size_t(heads * width)), total;
  std::vector<int64_t> order;
  for (int64_t t = 0; t < queries.rows; ++t) {
    for (int64_t b = 0; b < blocks; ++b)
      kernels::fast_kernels().block_scores({q.const_data_ptr<float>() + t * heads * layer.index_size, heads,
                                            layer.index_size, queries.blocks[size_t(b)] + offset,
                                            kernels::CacheFormat::F32, by_head.data() + b * kBlockTokens, width});
    const int64_t seen = queries.position + t + 1;
    total.assign(size_t(seen), 0.0f);
    for (int64_t h = 0; h < heads; ++h) {
      const float weight = w.const_data_ptr<float>()[t * heads + h];
      for (int64_t s = 0; s < seen; ++s) total[size_t(s)] += std::max(0.0f, by_head[size_t(h * width + s)]) * weight;
    }
    order.resize(size_t(seen));
    std::iota(order.begin(), order.end(), int64_t{0});
    const int64_t kept = std::min(count, seen);
    std::partial_sort(order.begin(), order.begin() + kept, order.end(), [&](int64_t a, int64_t b) {
      return total[size_t(a)] != total[size_t(b)] ? total[size_t(a)] > total[size_t(b)] : a < b;
    });
    for (int64_t i = 0; i < kept; ++i) out[size_t(t * keys + order[size_t(i)])] = 1;
  }
  return out;
}

}  // namespace swage::ops
