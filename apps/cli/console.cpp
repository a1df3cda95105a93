#include "apps/cli/console.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>

#include "apps/cli/environment.h"
#include "apps/cli/progress_line.h"
#include "swage/base/error.h"
#include "swage/base/printable.h"

namespace swage::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kQuiet = std::chrono::seconds(5);          // between lines in a log that only tell the time
constexpr auto kRedraw = std::chrono::milliseconds(100);  // between two states of the live line

}  // namespace

Console::Console()
    : live_(stderr_is_terminal() && !terminal_is_dumb()),
      terminal_(std::make_shared<spdlog::logger>("swage", std::make_shared<spdlog::sinks::stderr_sink_mt>())) {
  terminal_->set_pattern("%v");
}

Console::~Console() { end_line(); }

void Console::open(Verbosity verbosity, const std::string& log_file) {
  verbosity_ = verbosity;
  if (log_file.empty()) return;
  try {
    file_ = std::make_shared<spdlog::logger>("log", std::make_shared<spdlog::sinks::basic_file_sink_mt>(log_file));
  } catch (const spdlog::spdlog_ex& e) {
    throw Error(ErrorKind::Io, cat("--log-file ", log_file, ": ", e.what()));
  }
  file_->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  file_->flush_on(spdlog::level::info);
  file_->set_error_handler([this](const std::string& what) { terminal_->warn("warning: the log file: {}", what); });
}

void Console::say(Severity severity, const std::string& text) {
  const std::string message = printable(with_short_names(text));  // names come from files
  const bool warns = severity == Severity::Warning;
  if (file_) file_->log(warns ? spdlog::level::warn : spdlog::level::info, message);
  if (!warns && verbosity_ == Verbosity::Quiet) return;
  end_line();
  if (warns)
    terminal_->warn("warning: {}", message);
  else
    terminal_->info("{}", message);
}

void Console::show(const ProgressEvent& event) {
  if (file_) file_->info("{}", log_line(event));
  if (verbosity_ == Verbosity::Quiet) return;
  if (verbosity_ == Verbosity::Verbose) return terminal_->info("{}", log_line(event));
  const auto now = Clock::now();
  if (live_) {
    if (event.milestone || now - drawn_ >= kRedraw) draw(event);
    return;
  }
  if (!event.milestone && now - logged_ < kQuiet) return;
  logged_ = now;
  terminal_->info("{}", log_line(event));
}

// A terminal that became narrower has broken the line into several: all of them are cleared, from the first one on.
void Console::draw(const ProgressEvent& event) {
  const int columns = terminal_columns();
  const size_t above = shown_ > 0 ? (shown_ - 1) / size_t(columns) : 0;
  const std::string text = live_line(event, columns), up = above > 0 ? cat("\x1b[", above, "A") : std::string();
  std::fprintf(stderr, "%s\r%s%s", up.c_str(), above > 0 ? "\x1b[J" : "\x1b[K", text.c_str());
  std::fflush(stderr);
  shown_ = text.size();
  drawn_ = Clock::now();
}

void Console::end_line() {
  if (shown_ == 0) return;
  const size_t above = (shown_ - 1) / size_t(terminal_columns());
  if (above > 0)
    std::fprintf(stderr, "\x1b[%zuA\r\x1b[J", above);
  else
    std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  shown_ = 0;
}

void Console::fail(const std::string& text) {
  const std::string message = printable(text);
  end_line();
  if (file_) file_->error("{}", message);
  std::fprintf(stderr, "swage: error: %s\n", message.c_str());
}

}  // namespace swage::cli
