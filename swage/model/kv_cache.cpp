#include "swage/model/kv_cache.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>

#include "swage/base/error.h"

namespace swage::model {
namespace {

template <class Part>
const Part& part_of(const std::vector<Part>& parts, size_t node) {
  const auto found = std::find_if(parts.begin(), parts.end(), [&](const Part& part) { return part.node == node; });
  SWAGE_CHECK(found != parts.end(), Internal, "node ", node, " has no place in the cache");
  return *found;
}

int64_t bytes_of(const CachedState& state) {
  int64_t bytes = 4;
  for (const int64_t size : state.shape) bytes *= size;
  return bytes;
}

// Calls of(memory, bytes, bytes before) for the pieces in which the state lies.
template <class Function>
void each_piece(const SequenceCache& cache, const CachedState& state, const Function& of) {
  const int64_t bytes = bytes_of(state);
  for (int64_t done = 0; done < bytes;) {
    const int64_t at = state.offset + done, inside = at % cache.piece_bytes;
    const int64_t count = std::min(bytes - done, cache.piece_bytes - inside);
    of(cache.state.at(size_t(at / cache.piece_bytes)) + inside, count, done);
    done += count;
  }
}

}  // namespace

const ops::PagedLayer& LayerCache::pages(size_t node) const { return part_of(attentions, node).pages; }
const CachedState& LayerCache::state(size_t node) const { return part_of(states, node); }

namespace {

// How many tokens back an attention sees; 0: all.
int64_t reach_of(const graph::AttentionNode& attention) {
  const int64_t by_window = attention.window > 0 ? std::max<int64_t>(1, attention.window - 1) : 0;
  const int64_t by_chunk = attention.chunk > 0 ? std::max<int64_t>(1, attention.chunk - 1) : 0;
  return by_window > 0 && by_chunk > 0 ? std::min(by_window, by_chunk) : std::max(by_window, by_chunk);
}

}  // namespace

CacheLayout cache_layout(const graph::ModelProgram& model, kernels::CacheFormat format) {
  CacheLayout out;
  bool sees_all = false;
  const auto add_state = [&out](LayerCache& layer, size_t node, std::vector<int64_t> shape) {
    layer.states.push_back({node, out.state_bytes, std::move(shape)});
    out.state_bytes += bytes_of(layer.states.back());
  };
  for (const graph::BlockProgram& block : model.blocks) {
    LayerCache& layer = out.layers.emplace_back();
    for (size_t n = 0; n < block.nodes.size(); ++n) {
      const graph::Node& node = block.nodes[n];
      if (const auto* attention = std::get_if<graph::AttentionNode>(&node)) {
        const int64_t index = attention->index_count > 0 ? block.values[size_t(attention->index_key)].width : 0;
        layer.attentions.push_back(
            {n, {attention->kv_heads, attention->head_size, attention->value_size, index, format, out.block_bytes}});
        out.block_bytes += layer.attentions.back().pages.bytes();
        const int64_t reach = index > 0 ? 0 : reach_of(*attention);
        sees_all = sees_all || reach == 0;
        out.reach = std::max(out.reach, reach);
      }
      if (const auto* convolution = std::get_if<graph::ConvolutionNode>(&node))
        add_state(layer, n, {convolution->kernel - 1, block.values[size_t(convolution->in)].width});
      if (const auto* recurrence = std::get_if<graph::RecurrenceNode>(&node))
        add_state(layer, n, {recurrence->heads, recurrence->key_size, recurrence->value_size});
    }
  }
  if (sees_all) out.reach = 0;
  return out;
}

at::Tensor SequenceCache::read(const CachedState& state) const {
  at::Tensor out = at::empty(state.shape, at::kFloat);
  auto* to = static_cast<std::byte*>(out.mutable_data_ptr());
  each_piece(*this, state, [&](const std::byte* from, int64_t bytes, int64_t before) {
    std::memcpy(to + before, from, size_t(bytes));
  });
  return out;
}

void SequenceCache::write(const CachedState& state, const at::Tensor& value) const {
  SWAGE_CHECK(value.sizes() == at::IntArrayRef(state.shape), Internal, "a state of ", value.sizes(), " for a place of ",
              at::IntArrayRef(state.shape));
  const at::Tensor ready = value.to(at::kCPU, at::kFloat).contiguous();
  const auto* from = static_cast<const std::byte*>(ready.const_data_ptr());
  each_piece(*this, state,
             [&](std::byte* to, int64_t bytes, int64_t before) { std::memcpy(to, from + before, size_t(bytes)); });
}

}  // namespace swage::model
