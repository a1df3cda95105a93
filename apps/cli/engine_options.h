// Options of the commands that make text, which generate and chat share.
#pragma once
#include "apps/cli/commands.h"

namespace swage::cli {

void add_sampling(CLI::App& command, runtime::Request& request);
void add_engine(CLI::App& command, EngineOptions& engine);

}  // namespace swage::cli
