#include "swage/solvers/sparsegpt.h"
#include "swage/ops/device.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <vector>

#include "swage/base/error.h"
#include "swage/kernels/kernels.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/panels.h"
#include "swage/solvers/prune_masks.h"

namespace swage::solvers {
namespace {

using kernels::kColumnGroup;
using kernels::kPanel;

// Columns begin .. end of one panel of rows, as the kernels take them.
struct Panel {
  at::Tensor weight_error;  // [padded, kPanel], 64-byte aligned as all of ATen's
  at::Tensor value, keep, loss;
  at::Tensor cost;  // unstructured: values by which the block's mask is chosen
};

class SparseGpt {
 public:
  SparseGpt(const at::Tensor& w_OI, const GptqFactor& factor, const SparseGptOptions& options)
      : w_OI_(w_OI.contiguous()),
        options_(options),
        rows_(w_OI.size(0)),
        columns_(w_OI.size(1)),
        padded_((columns_ + kColumnGroup - 1) / kColumnGroup * kColumnGroup),
        panels_((rows_ + kPanel - 1) / kPanel),
        m_(packed_factor(factor.m_II, padded_)),
        d_(size_t(padded_), 0.0f),
        dead_(factor.dead_I.const_data_ptr<bool>()),
        loss_(size_t(panels_), 0.0) {
    std::copy_n(factor.d_I.const_data_ptr<float>(), columns_, d_.begin());
    result_.w_OI = at::empty_like(w_OI_);
  }

  SparseResult run() {
    if (options_.pattern.grouped()) {
      run_groups();
    } else {
      run_blocks();
    }
    for (const double loss : loss_) result_.loss += loss;
    return result_;
  }

 private:
  Panel make_panel(int64_t values) const {
    const auto floats = [](int64_t count) { return at::empty({count, kPanel}, at::kFloat); };
    return {floats(padded_), floats(values), floats(values), floats(1),
            options_.pattern.grouped() ? at::Tensor() : floats(values)};
  }

  int64_t lanes(int64_t panel) const { return std::min(kPanel, rows_ - panel * kPanel); }

  void load(int64_t panel, float* to) const {
    load_panel(w_OI_.const_data_ptr<float>() + panel * kPanel * columns_, columns_, lanes(panel), columns_, to);
    std::fill(to + columns_ * kPanel, to + padded_ * kPanel, 0.0f);
    for (int64_t i = 0; i < columns_; ++i) {
      if (dead_[i]) std::fill_n(to + i * kPanel, kPanel, 0.0f);
    }
  }

  // What may be kept at all, from the weights as they came.
  void allow(const float* weight, int64_t count, float* keep) const {
    for (int64_t i = 0; i < count * kPanel; ++i) keep[i] = options_.preserve_mask && weight[i] == 0 ? 0.0f : 1.0f;
  }

  kernels::PrunePanel kernel_args(Panel& p, int64_t begin, int64_t end) const {
    return {begin,
            end,
            p.weight_error.mutable_data_ptr<float>(),
            m_.const_data_ptr<float>(),
            d_.data(),
            p.value.mutable_data_ptr<float>(),
            p.keep.mutable_data_ptr<float>(),
            options_.pattern.group,
            options_.pattern.dropped,
            p.loss.mutable_data_ptr<float>()};
  }

  void prune(int64_t panel, int64_t begin, int64_t end, Panel& p) {
    p.loss.zero_();
    kernels::fast_kernels().prune_panel(kernel_args(p, begin, end));
    const int64_t count = std::min(end, columns_) - begin;
    store_panel(p.value.const_data_ptr<float>(), lanes(panel), count, columns_,
                result_.w_OI.mutable_data_ptr<float>() + panel * kPanel * columns_ + begin);
    const float* loss = p.loss.const_data_ptr<float>();
    for (int64_t lane = 0; lane < lanes(panel); ++lane) loss_[size_t(panel)] += double(loss[lane]);
  }

  // Each group's mask depends on its own row alone: panel by panel.
  void run_groups() {
    ops::parallel_tasks(
        panels_, [this] { return make_panel(padded_); },
        [this](int64_t panel, Panel& p) {
          load(panel, p.weight_error.mutable_data_ptr<float>());
          allow(p.weight_error.const_data_ptr<float>(), padded_, p.keep.mutable_data_ptr<float>());
          kernels::fast_kernels().prune_gather(kernel_args(p, 0, padded_));
          prune(panel, 0, padded_, p);
        });
  }

  // A block's mask depends on all rows: block by block, and all panels in between.
  void run_blocks() {
    std::vector<Panel> panels;
    for (int64_t i = 0; i < panels_; ++i) panels.push_back(make_panel(options_.block_size));
    const auto each = [&](const auto& work) {
      ops::parallel_tasks(panels_, [] { return 0; }, [&](int64_t i, int) { work(i, panels[size_t(i)]); });
    };
    each([this](int64_t i, Panel& p) { load(i, p.weight_error.mutable_data_ptr<float>()); });
    for (int64_t begin = 0; begin < padded_; begin += options_.block_size) {
      const int64_t end = std::min(begin + options_.block_size, padded_);
      each([&](int64_t, Panel& p) {
        kernels::fast_kernels().prune_gather(kernel_args(p, begin, end));
        if (options_.pattern.sparsity > 0) find_costs(p, begin, end);
        allow(p.weight_error.const_data_ptr<float>() + begin * kPanel, end - begin, p.keep.mutable_data_ptr<float>());
      });
      if (options_.pattern.sparsity > 0) {
        const float most = threshold(panels, begin, std::min(end, columns_));
        each([&](int64_t, Panel& p) { drop_cheap(p, begin, std::min(end, columns_), most); });
      }
      each([&](int64_t i, Panel& p) { prune(i, begin, end, p); });
    }
  }

  // What dropping each weight of a block costs, from the values that follow if all of them are kept.
  void find_costs(Panel& p, int64_t begin, int64_t end) const {
    const at::Tensor error = p.weight_error.narrow(0, begin, end - begin);
    const at::Tensor error_before = error.clone(), value_before = p.value.clone();
    p.keep.fill_(1);
    kernels::fast_kernels().prune_panel(kernel_args(p, begin, end));
    p.cost.copy_(p.value);
    error.copy_(error_before);
    p.value.copy_(value_before);
  }

  float cost(const Panel& p, int64_t begin, int64_t column, int64_t lane) const {
    const int64_t at = (column - begin) * kPanel + lane;
    const float v = p.cost.const_data_ptr<float>()[at];
    return p.keep.const_data_ptr<float>()[at] == 0 ? 0.0f : v * v * d_[size_t(column)];
  }

  float threshold(const std::vector<Panel>& panels, int64_t begin, int64_t end) const {
    std::vector<float> costs;
    costs.reserve(size_t(rows_ * (end - begin)));
    for (int64_t i = 0; i < panels_; ++i) {
      for (int64_t column = begin; column < end; ++column) {
        for (int64_t lane = 0; lane < lanes(i); ++lane) costs.push_back(cost(panels[size_t(i)], begin, column, lane));
      }
    }
    const auto at = costs.begin() + int64_t(double(costs.size()) * options_.pattern.sparsity);
    std::nth_element(costs.begin(), at, costs.end());
    return *at;
  }

  void drop_cheap(Panel& p, int64_t begin, int64_t end, float most) const {
    float* keep = p.keep.mutable_data_ptr<float>();
    for (int64_t column = begin; column < end; ++column) {
      for (int64_t lane = 0; lane < kPanel; ++lane) {
        if (cost(p, begin, column, lane) <= most) keep[(column - begin) * kPanel + lane] = 0;
      }
    }
  }

  const at::Tensor w_OI_;
  const SparseGptOptions& options_;
  const int64_t rows_, columns_, padded_, panels_;
  const at::Tensor m_;
  std::vector<float> d_;
  const bool* dead_;
  std::vector<double> loss_;
  SparseResult result_;
};

void check(const at::Tensor& w_OI, const GptqFactor& factor, const SparseGptOptions& options) {
  SWAGE_CHECK(ops::is_host_matrix(w_OI, at::kFloat), InvalidArgument,
              "sparsegpt_solve: expected a float32 matrix on the CPU, got ", w_OI.sizes(), " of ", w_OI.scalar_type());
  check_pattern("sparsegpt_solve", options.pattern, w_OI.size(1));
  SWAGE_CHECK(factor.m_II.defined() && factor.m_II.size(0) == w_OI.size(1) && !factor.permutation_I.defined(),
              InvalidArgument, "sparsegpt_solve: expected a factor of ", w_OI.size(1),
              " columns in their natural order");
  SWAGE_CHECK(options.block_size > 0 && options.block_size % kColumnGroup == 0, InvalidArgument,
              "sparsegpt_solve: block_size ", options.block_size, ": expected a multiple of ", kColumnGroup);
  SWAGE_CHECK(options.pattern.group <= kernels::kLongestPruneGroup, Unsupported, "sparsegpt_solve: groups of ",
              options.pattern.group, " columns; at most ", kernels::kLongestPruneGroup);
  if (!options.preserve_mask) return;
  const double zeros = 1 - double(w_OI.count_nonzero().item<int64_t>()) / double(w_OI.numel());
  SWAGE_CHECK(zeros <= options.pattern.sparsity || options.pattern.grouped(), InvalidArgument,
              "sparsegpt_solve: the weight has a share of ", zeros, " zeros already, more than the sparsity of ",
              options.pattern.sparsity, "; without preserve_sparsity_mask they may come back");
}

}  // namespace

SparseResult sparsegpt_solve(const at::Tensor& w_OI, const GptqFactor& factor, const SparseGptOptions& options) {
  check(w_OI, factor, options);
  return SparseGpt(w_OI, factor, options).run();
}

}  // namespace swage::solvers
