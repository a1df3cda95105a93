#include "apps/cli/progress_line.h"

#include <algorithm>
#include <vector>

#include "apps/cli/text.h"
#include "swage/base/error.h"
#include "swage/base/printable.h"

namespace swage::cli {
namespace {

struct Part {
  std::string text;
  int rank;  // the highest goes first where there is no room
};

std::string joined(const std::vector<Part>& parts) {
  std::string out;
  for (const Part& part : parts) out += (out.empty() ? "" : "  ") + part.text;
  return out;
}

std::vector<Part> parts_of(const ProgressEvent& event) {
  std::vector<Part> parts;
  parts.push_back(
      {event.layer >= 0 ? cat(event.stage, " layer ", event.layer + 1, "/", event.layers) : event.stage, 0});
  if (!event.module.empty()) parts.push_back({printable(event.module), 9});
  if (event.loss >= 0) parts.push_back({cat("error ", number_text(100 * event.loss, 1), " %"), 7});
  if (event.modules > 0) parts.push_back({cat("module ", event.modules_done, "/", event.modules), 4});
  if (event.tokens_per_second > 0) parts.push_back({cat(number_text(event.tokens_per_second, 0), " tokens/s"), 8});
  parts.push_back({seconds_text(event.elapsed_seconds), 3});
  if (event.eta_seconds >= 0) parts.push_back({cat("ETA ", seconds_text(event.eta_seconds)), 1});
  if (event.rss_bytes > 0) parts.push_back({bytes_text(event.rss_bytes), 6});
  return parts;
}

}  // namespace

std::string log_line(const ProgressEvent& event) { return joined(parts_of(event)); }

std::string live_line(const ProgressEvent& event, int columns) {
  const size_t width = size_t(std::max(columns - 1, 1));  // a line that wraps cannot be redrawn
  std::vector<Part> parts = parts_of(event);
  const auto lower = [](const Part& a, const Part& b) { return a.rank < b.rank; };
  while (joined(parts).size() > width && parts.size() > 1)
    parts.erase(std::max_element(parts.begin(), parts.end(), lower));
  return joined(parts).substr(0, width);
}

}  // namespace swage::cli
