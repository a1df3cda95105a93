// What a run says of the experts that it took out: in its report, and in a file of its own where a recipe names one.
#pragma once
#include <filesystem>
#include <vector>

#include "swage/base/json.h"
#include "swage/report/report.h"
#include "swage/views/pruned_experts.h"

namespace swage::pipeline {

// {"modifier", "experts": of each layer before, "stay": after, "layers": [{"layer": "model.layers.0.mlp", "retained":
// [0, 2], "lost_share", "experts": [{"expert": 0, "score", "tokens", "kept"}]}]}; numbers of experts are the source's.
// `modules`: all that the run noted.
Json expert_report(const PrunedExperts& experts, const std::vector<ModuleReport>& modules);
// Makes missing folders. Error(Io) if the file cannot be written.
void write_expert_report(const std::filesystem::path& file, const Json& report);
// The same error before the work, for a place that cannot be written.
void check_report_place(const std::filesystem::path& file);

}  // namespace swage::pipeline
