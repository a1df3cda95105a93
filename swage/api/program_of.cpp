#include <filesystem>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/checkpoint/no_weights.h"
#include "swage/checkpoint/reader.h"
#include "swage/format/weight_source.h"
#include "swage/model/model.h"
#include "swage/swage.h"

namespace swage {
namespace {

namespace fs = std::filesystem;

bool holds_weights(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".safetensors") return true;
  }
  return false;
}

// With the shards where there are such: they tell storage variants apart.
graph::ModelProgram read_program(const fs::path& model) {
  if (fs::is_directory(model) && holds_weights(model)) {
    const checkpoint::Reader reader(model);
    return model::make_program(reader.config(), format::CheckpointWeights(reader, at::kCPU, {.weights_only = true}));
  }
  const fs::path config = fs::is_directory(model) ? model / "config.json" : model;
  return model::make_program(read_json_file(config), checkpoint::NoWeights());
}

Json tensor_list(const graph::ModelProgram& program) {
  Json out = Json::array();
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) {
    Json sizes = Json::array();
    for (const int64_t size : shape) sizes.push_back(size);
    Json one = Json::object();
    one.set("name", name);
    one.set("shape", std::move(sizes));
    out.push_back(std::move(one));
  };
  graph::visit_tensors_before(program, add);
  for (const graph::BlockProgram& block : program.blocks) graph::visit_tensors(block, add);
  graph::visit_tensors_after(program, add);
  return out;
}

Json module_list(const graph::ModelProgram& program) {
  Json out = Json::array();
  for (const graph::ModuleInfo& module : graph::modules_of(program)) {
    Json one = Json::object();
    one.set("name", module.name);
    one.set("class", module.class_name);
    one.set("role", std::string(graph::text_of(module.role)));
    one.set("rows", module.rows);
    one.set("columns", module.columns);
    one.set("block", int64_t(module.block));
    one.set("quantizable", module.quantizable);
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace

Json program_of(const std::string& model_folder) {
  const graph::ModelProgram program = read_program(model_folder);
  Json out = Json::object();
  out.set("text", graph::text_of(program));
  out.set("tensors", tensor_list(program));
  out.set("modules", module_list(program));
  return out;
}

}  // namespace swage
