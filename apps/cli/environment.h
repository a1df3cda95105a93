// What the program takes from its surroundings: environment variables, signals, terminal.
#pragma once
#include <atomic>

#include "swage/swage.h"

namespace swage::cli {

// HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN as the Python hub library reads them.
HubSettings hub_settings();
// From now on SIGINT and SIGTERM set the returned flag once; the second one ends the process.
const std::atomic<bool>& catch_interrupts();
bool stderr_is_terminal();

}  // namespace swage::cli
