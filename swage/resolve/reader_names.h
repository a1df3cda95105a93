// Names that readers give modules of older files.
#pragma once
#include <string>
#include <vector>

#include "swage/graph/shape.h"

namespace swage::pipeline {

// `names` of modules as the file has them, each followed by the name under which transformers 5 looks for it in
// `ignore`, where that is another: it loads files of before under its own layout ("visual.blocks.0.attn.qkv" as
// "model.visual.blocks.0.attn.qkv") and compares with the names of that. None twice.
std::vector<std::string> with_names_of_readers(const std::vector<std::string>& names,
                                               const std::vector<graph::ModuleInfo>& modules);

}  // namespace swage::pipeline
