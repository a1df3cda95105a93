#include "swage/pipeline/bit_costs.h"

#include <optional>

#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/job/identity.h"
#include "swage/job/journaled_run.h"

namespace swage::pipeline {
namespace {

// What an interrupted run of the same job knew when it began to write.
std::optional<BudgetCosts> kept_costs(const CompressJob& job, const Json& identity,
                                      const std::vector<BudgetUnit>& units) {
  const std::optional<Json> kept = identity_of_unfinished(job);
  if (!kept || kept->find(kBitCosts) == nullptr) return {};
  Json same = Json::object();
  for (const auto& [name, value] : kept->as_object()) {
    if (name != kBitCosts && name != kOutputLayout) same.set(name, value);
  }
  if (!difference(same, identity).empty()) return {};
  return costs_from_json(kept->at(kBitCosts), units);
}

}  // namespace

BudgetCosts bit_costs(const CompressJob& job, const Source& source, const Json& identity, SensitivityJob measuring,
                      const at::Tensor& ids_NL, size_t probed, checkpoint::OutputFolder& folder) {
  if (const std::optional<BudgetCosts> kept = kept_costs(job, identity, measuring.units)) return *kept;
  Json of_probes = identity;
  of_probes.set(kWeightFiles, source.state());  // the figures depend on all weights
  ProbeStore store(JournaledRun::probes(folder), hex64(checksum(of_probes.dump())), [&] { folder.keep(true); });
  if (job.resume) measuring.store = &store;
  try {
    return measure_costs(measuring, ids_NL, probed);
  } catch (const Error& e) {
    if (!may_be_overcome(e.kind())) folder.keep(false);
    throw;
  }
}

}  // namespace swage::pipeline
