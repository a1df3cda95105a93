// Progress as text: a line for a log, and one that fits a terminal.
#pragma once
#include <string>

#include "swage/base/context.h"

namespace swage::cli {

// Everything that is known, as one line.
std::string log_line(const ProgressEvent& event);
// The same in fewer than `columns` characters: what matters least goes first. At 80 columns stage, layer, count of
// modules, elapsed time, time until the run ends and memory are there.
std::string live_line(const ProgressEvent& event, int columns);

}  // namespace swage::cli
