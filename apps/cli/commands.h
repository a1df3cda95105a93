// One function a subcommand: adds it, with its options, to the program. What it does when chosen is kept in `chosen`.
#pragma once
#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <string>

#include "swage/swage.h"

namespace swage::cli {

// Options that every subcommand has.
struct Common {
  bool json = false;
  std::string device = "auto";
  uint64_t seed = 42;
  int threads = 0;
};

struct Program {
  CLI::App app{"swage compresses large language models: it reads a Hugging Face checkpoint, calibrates, quantizes,\n"
               "and writes a checkpoint that vLLM and transformers load as it is.",
               "swage"};
  Common common;
  std::function<int()> chosen;
};

void add_compress(Program& program);
void add_convert(Program& program);
void add_estimate(Program& program);
void add_eval(Program& program);
void add_generate(Program& program);
void add_inspect(Program& program);
void add_push(Program& program);

// Values from `least` on.
CLI::Validator at_least(double least);

// --json for all; --device, --seed and --threads for those that compute.
void add_json(CLI::App& command, Common& common);
void add_compute(CLI::App& command, Common& common);

}  // namespace swage::cli
