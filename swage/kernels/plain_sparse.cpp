#include "swage/kernels/plain_sparse.h"

#include <cmath>
#include <vector>

namespace swage::kernels {
namespace {

float element_of_m(const float* m, int64_t k, int64_t column) {
  return m[gptq_m_offset(column / kColumnGroup) + k * kColumnGroup + column % kColumnGroup];
}

// Whether column j of a group is among the `dropped` that cost least.
bool is_dropped(const std::vector<float>& cost, size_t j, int64_t dropped) {
  int64_t before = 0;
  for (size_t k = 0; k < cost.size(); ++k) before += cost[k] < cost[j] || (cost[k] == cost[j] && k < j);
  return before < dropped || cost[j] < 0;
}

// v^2 d of the group's columns if all of them are kept; -1 where `keep` drops already.
std::vector<float> costs_of_group(const PrunePanel& p, int64_t first, int64_t lane) {
  std::vector<float> cost, error;
  for (int64_t j = first; j < first + p.group; ++j) {
    float v = p.value[j * kPanel + lane];
    for (int64_t k = first; k < j; ++k)
      v = std::fma(element_of_m(p.m, p.begin + k, p.begin + j), error[static_cast<size_t>(k - first)], v);
    error.push_back(p.weight_error[(p.begin + j) * kPanel + lane] - v);
    cost.push_back(p.keep[j * kPanel + lane] == 0 ? -1.0f : v * v * p.d[p.begin + j]);
  }
  return cost;
}

// Gradient over one group without its own share: b = P + q H.
std::vector<float> pull_of(const SparsePanel& p, int64_t first, int64_t lane) {
  std::vector<float> pull;
  for (int64_t j = first; j < first + p.group; ++j) {
    float sum = p.gradient[j * kPanel + lane];
    for (int64_t k = first; k < first + p.group; ++k)
      sum = std::fma(p.gram[k * p.count + j], p.value[k * kPanel + lane], sum);
    pull.push_back(sum);
  }
  return pull;
}

std::vector<float> best_of_supports(const SparsePanel& p, int64_t first, const std::vector<float>& pull) {
  std::vector<float> best(static_cast<size_t>(p.group));
  float most = -1;
  for (int64_t s = 0; s < p.supports; ++s) {
    const float* inverse = p.inverse + (first / p.group * p.supports + s) * p.kept * p.kept;
    const uint8_t* member = p.members + s * p.kept;
    std::vector<float> candidate(static_cast<size_t>(p.group));
    float gain = 0;
    for (int64_t a = 0; a < p.kept; ++a) {
      float x = 0;
      for (int64_t b = 0; b < p.kept; ++b) x = std::fma(inverse[a * p.kept + b], pull[member[b]], x);
      candidate[member[a]] = x;
      gain = std::fma(x, pull[member[a]], gain);
    }
    if (!(gain > most)) continue;
    most = gain;
    best = candidate;
  }
  return best;
}

void refit_row(const SparsePanel& p, int64_t lane) {
  const int64_t step = p.group > 0 ? p.group : 1;
  for (int64_t first = 0; first < p.count; first += step) {
    std::vector<float> fresh;
    if (p.group > 0) {
      fresh = best_of_supports(p, first, pull_of(p, first, lane));
    } else {
      const float old = p.value[first * kPanel + lane];
      fresh = {old == 0 ? 0 : old + p.gradient[first * kPanel + lane] * p.inverse_diagonal[first]};
    }
    for (int64_t j = first; j < first + step; ++j) {
      const float now = fresh[static_cast<size_t>(j - first)], change = now - p.value[j * kPanel + lane];
      p.value[j * kPanel + lane] = now;
      p.change[j * kPanel + lane] = change;
      for (int64_t k = first + step; k < p.count; ++k)
        p.gradient[k * kPanel + lane] -= change * p.gram[j * p.count + k];
    }
  }
}

}  // namespace

void prune_gather(const PrunePanel& p) {
  for (int64_t lane = 0; lane < kPanel; ++lane) {
    for (int64_t i = p.begin; i < p.end; ++i) {
      float v = p.weight_error[i * kPanel + lane];
      for (int64_t k = 0; k < p.begin; ++k) v = std::fma(element_of_m(p.m, k, i), p.weight_error[k * kPanel + lane], v);
      p.value[(i - p.begin) * kPanel + lane] = v;
    }
  }
}

void prune_panel(const PrunePanel& p) {
  const int64_t count = p.end - p.begin;
  for (int64_t lane = 0; lane < kPanel; ++lane) {
    for (int64_t i = 0; i < count; ++i) {
      if (p.group > 0 && i % p.group == 0 && i + p.group <= count) {
        const std::vector<float> cost = costs_of_group(p, i, lane);
        for (int64_t j = 0; j < p.group; ++j)
          p.keep[(i + j) * kPanel + lane] = is_dropped(cost, static_cast<size_t>(j), p.dropped) ? 0.0f : 1.0f;
      }
      float& error = p.weight_error[(p.begin + i) * kPanel + lane];
      const float v = p.value[i * kPanel + lane], pruned = v * p.keep[i * kPanel + lane];
      p.value[i * kPanel + lane] = pruned;
      error -= pruned;
      p.loss[lane] += p.d[p.begin + i] * (v - pruned) * (v - pruned);
      for (int64_t c = i + 1; c < count; ++c) {
        float& later = p.value[c * kPanel + lane];
        later = std::fma(element_of_m(p.m, p.begin + i, p.begin + c), error, later);
      }
    }
  }
}

void sparse_refit_panel(const SparsePanel& p) {
  for (int64_t lane = 0; lane < kPanel; ++lane) refit_row(p, lane);
}

}  // namespace swage::kernels
