// The checkpoint that a config describes, where only the config is there: its tensors as the architecture would store
// them, so that whoever lays out an output or plans a run asks a Reader either way.
#pragma once
#include <filesystem>

#include "swage/base/json.h"
#include "swage/checkpoint/reader.h"

namespace swage::pipeline {

// Plain floats in the type that the config names, bf16 without one: what it says of a quantization is left out. The
// parameters that are copied and never computed with (ModelProgram::side_parameters) have no names and are not there.
// `folder` names it in errors. Errors of model::make_program().
checkpoint::Reader declared_source(const std::filesystem::path& folder, const Json& config,
                                   const std::string& architecture = {});

}  // namespace swage::pipeline
