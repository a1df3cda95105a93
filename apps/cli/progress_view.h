// What a run shows on stderr: one line that keeps itself up to date on a terminal, a line a layer in a pipe.
#pragma once
#include "apps/cli/commands.h"

namespace swage::cli {

// The context of a run: device, seed, threads, interrupts, and its messages going to stderr.
Context make_context(const Common& common);
// Ends the live line, if there is one.
void end_progress();

}  // namespace swage::cli
