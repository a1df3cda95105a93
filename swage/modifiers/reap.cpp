#include "swage/modifiers/reap.h"

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/solvers/expert_saliency.h"

namespace swage::modifiers {

Reap::Reap(ReapConfig config, const std::string& source) : config_(std::move(config)) {
  SWAGE_CHECK(config_.sparsity.has_value(), InvalidArgument, source,
              ": sparsity: expected the share of the experts that go, between 0 and 1");
  SWAGE_CHECK(*config_.sparsity > 0 && *config_.sparsity < 1, InvalidArgument, source, ": sparsity ", *config_.sparsity,
              ": expected a share between 0 and 1");
  SWAGE_CHECK(!config_.report_path || config_.report_path->ends_with(".json"), InvalidArgument, source,
              ": report_path ", config_.report_path.value_or(""), ": expected a name that ends in .json");
}

Json Reap::config() const { return write_fields(config_); }

Cost Reap::cost(std::span<const LinearShape>, const CostSetting&) const {
  return {};
}  // the scores are sums taken in a forward pass

// As LLM Compressor rounds: down, of the product in f64.
int64_t Reap::dropped(int64_t experts) const { return int64_t(double(experts) * *config_.sparsity); }

std::vector<double> Reap::scores(const ExpertStatistics& statistics) const {
  return solvers::mean_saliency(statistics.weighted_norms, statistics.tokens);
}

}  // namespace swage::modifiers
