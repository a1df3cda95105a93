// What a run says beside its result: messages and progress on stderr, and in a log file if there is one.
#pragma once
#include <chrono>
#include <memory>
#include <string>

#include "swage/base/context.h"

namespace spdlog {
class logger;
}

namespace swage::cli {

enum class Verbosity {
  Quiet,   // warnings and errors only
  Normal,  // messages and progress: one line that keeps itself up to date on a terminal, a line a layer elsewhere
  Verbose  // every step of progress as a line of its own
};

// For one thread at a time.
class Console {
 public:
  Console();
  ~Console();
  Console(const Console&) = delete;
  // Before anything is said. `log_file`: takes down everything that Verbose would say, with times, at the end of what
  // it holds; empty: none. Error(Io) if it cannot be written.
  void open(Verbosity verbosity, const std::string& log_file);
  void say(Severity severity, const std::string& message);
  void show(const ProgressEvent& event);
  // Clears the live line, if there is one.
  void end_line();
  // "swage: error: ..." in a line of its own.
  void fail(const std::string& message);

 private:
  void draw(const ProgressEvent& event);

  Verbosity verbosity_ = Verbosity::Normal;
  const bool live_;
  size_t shown_ = 0;  // characters of the live line; 0: there is none
  std::chrono::steady_clock::time_point drawn_{}, logged_{};
  std::shared_ptr<spdlog::logger> terminal_, file_;
};

}  // namespace swage::cli
