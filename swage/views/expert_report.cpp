#include "swage/views/expert_report.h"

#include <unistd.h>

#include "swage/base/error.h"
#include "swage/io/atomic_file.h"

namespace swage::pipeline {

namespace fs = std::filesystem;

Json expert_report(const PrunedExperts& experts, const std::vector<ModuleReport>& modules) {
  Json out = Json::object(), layers = Json::array();
  out.set("modifier", std::string(experts.by().name()));
  out.set("experts", experts.experts());
  out.set("stay", experts.stay());
  for (const ModuleReport& module : modules) {
    if (!module.experts) continue;
    Json layer = Json::object();
    layer.set("layer", module.name.substr(0, module.name.rfind('.')));
    const Json found = module.experts->to_json();
    for (const auto& [name, value] : found.as_object()) layer.set(name, value);
    layers.push_back(std::move(layer));
  }
  out.set("layers", std::move(layers));
  return out;
}

void write_expert_report(const fs::path& file, const Json& report) {
  std::error_code error;
  const fs::path folder = fs::absolute(file).parent_path();
  fs::create_directories(folder, error);
  SWAGE_CHECK(!error, Io, folder.string(), ": the folder of report_path cannot be made: ", error.message());
  io::write_file_atomically(fs::absolute(file), report.dump(2) + "\n");
}

void check_report_place(const fs::path& file) {
  std::error_code error;
  SWAGE_CHECK(!fs::is_directory(file, error), Io, file.string(), ": report_path is a folder");
  fs::path folder = fs::absolute(file).parent_path();
  while (!fs::exists(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
  SWAGE_CHECK(fs::is_directory(folder, error) && access(folder.c_str(), W_OK) == 0, Io, file.string(),
              ": report_path cannot be written: ", folder.string(), " is no folder that can be");
}

}  // namespace swage::pipeline
