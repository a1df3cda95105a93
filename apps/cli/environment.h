// What the program takes from its surroundings: environment variables, signals, terminal.
#pragma once
#include <atomic>

#include "swage/swage.h"

namespace swage::cli {

// The process's environment, for the library's look at HF_HOME and the like.
HubSettings hub_settings();
// SWAGE_TORCH: the folder of libtorch's CUDA half; SWAGE_GPU_PRODUCTS=f32: products on a GPU in f32.
// Error(InvalidArgument) for another value of that.
void add_gpu_settings(Device& device);
// From now on SIGINT and SIGTERM set the returned flag once; the second one ends the process.
const std::atomic<bool>& catch_interrupts();
// From now on SIGINT alone sets the returned flag, as often as it comes, and interrupts what waits for input.
std::atomic<bool>& catch_interrupts_of_answers();
bool stderr_is_terminal();
// Whether it takes plain text only.
bool terminal_is_dumb();
// Width of the terminal that stdout is; a file is as wide as need be.
int output_columns();
// Width that help is wrapped to: of the terminal that stdout is, else $COLUMNS, else 80.
int help_columns();
// Error(Io) if what was printed did not get to where standard output leads. A reader that went away is none.
void check_results_are_written();
// Lets the allocator keep what is freed for the next allocation. The forward pass takes and frees the same few
// megabytes thousands of times; giving them back each time costs a tenth of the run in page faults.
void keep_freed_memory();
// Lets it keep little: a run with a budget has to give back what its next step does not need.
void give_freed_memory_back();
// Bounds how long a thread of the calculation spins where it waits for another one, unless the user says how it shall
// wait. Before libswage.so is loaded: the OpenMP runtime reads it then.
void bound_spinning();
// Width of that terminal in characters; 80 if it does not say.
int terminal_columns();

}  // namespace swage::cli
