#include "apps/cli/progress_view.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "apps/cli/environment.h"
#include "apps/cli/text.h"
#include "swage/base/printable.h"

namespace swage::cli {
namespace {

bool line_is_open = false;
using Clock = std::chrono::steady_clock;
constexpr auto kQuiet = std::chrono::seconds(5);

std::string describe(const ProgressEvent& event) {
  std::string text = event.stage;
  if (event.layer >= 0) text += cat(" layer ", event.layer + 1, "/", event.layers);
  if (!event.module.empty()) text += "  " + event.module;
  if (event.loss >= 0) text += cat("  error ", number_text(100 * event.loss, 1), " %");
  if (event.tokens_per_second > 0) text += cat("  ", number_text(event.tokens_per_second, 0), " tokens/s");
  text += "  " + seconds_text(event.elapsed_seconds);
  if (event.eta_seconds >= 0) text += cat("  ETA ", seconds_text(event.eta_seconds));
  if (event.rss_bytes > 0) text += "  " + bytes_text(event.rss_bytes);
  return printable(text);
}

void show_live(const ProgressEvent& event) {
  // Cut to the width: a line that wraps cannot be redrawn.
  const std::string text = describe(event).substr(0, size_t(std::max(terminal_columns() - 1, 1)));
  std::fprintf(stderr, "\r\x1b[K%s", text.c_str());
  std::fflush(stderr);
  line_is_open = true;
}

}  // namespace

void end_progress() {
  if (line_is_open) std::fputs("\r\x1b[K", stderr);
  line_is_open = false;
}

Context make_context(const Common& common) {
  auto logger = std::make_shared<spdlog::logger>("swage", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%v");
  Context context;
  context.device = parse_device(common.device);
  add_gpu_settings(context.device);
  context.seed = common.seed;
  context.threads = common.threads;
  context.cancel = &catch_interrupts();
  context.log = [logger](Severity severity, const std::string& text) {
    const std::string message = printable(text);  // names come from files
    end_progress();
    if (severity == Severity::Warning) {
      logger->warn("warning: {}", message);
    } else {
      logger->info("{}", message);
    }
  };
  if (stderr_is_terminal()) {
    context.progress = show_live;
  } else {
    context.progress = [logger, last = Clock::time_point()](const ProgressEvent& event) mutable {
      // A layer that was solved is worth a line; of passes over layers that only tell the time, one now and then is.
      if (event.module.empty() && Clock::now() - last < kQuiet) return;
      last = Clock::now();
      logger->info("{}", describe(event));
    };
  }
  return context;
}

}  // namespace swage::cli
