#include "apps/cli/failure.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "swage/base/version.h"

namespace swage::cli {
namespace {

constexpr int kSchemaVersion = 2;  // of docs/json.md: grows when a member goes or changes its meaning

// How the parts of messages that say what to do begin.
constexpr std::array<std::string_view, 19> kRemedies = {
    "did you mean", "give ",   "use ",      "choose ",          "add ",  "put ", "--",
    "the smallest", "run ",    "convert ",  "swage ",           "make ", "set ", "sizes that fit",
    "known are ",   "known: ", "supported", "the same command", "see "};

std::string remedy_in(const std::string& message) {
  for (size_t at = message.size(); (at = message.rfind("; ", at)) != std::string::npos; --at) {
    const std::string_view rest = std::string_view(message).substr(at + 2);
    const auto begins = [&](std::string_view start) { return rest.starts_with(start); };
    if (std::any_of(kRemedies.begin(), kRemedies.end(), begins)) return std::string(rest);
    if (at == 0) break;
  }
  return {};
}

std::string remedy_for(ErrorKind kind, const std::string& command) {
  switch (kind) {
    case ErrorKind::InvalidArgument:
      return cat("swage ", command, command.empty() ? "" : " ", "--help explains the options");
    case ErrorKind::CorruptData:
      return "the file named is damaged or of another kind; fetch it or make it again";
    case ErrorKind::Io:
      return "check that the path exists, its permissions, and the free space";
    case ErrorKind::Unsupported:
      return "docs/status.md lists what is supported";
    case ErrorKind::Numerical:
      return "check the weights named and the calibration text, or choose a finer scheme";
    case ErrorKind::Cancelled:
      return "the same command starts again, or goes on with what was kept";
    case ErrorKind::Internal:
      return "a fault of swage itself; please report it with the command and its messages";
  }
  return {};
}

}  // namespace

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::InvalidArgument:
    case ErrorKind::Unsupported:
      return 2;
    case ErrorKind::Cancelled:
      return 130;
    default:
      return 1;
  }
}

Json with_head(const std::string& command, const Json& result) {
  Json out = Json::object();
  out.set("schema_version", kSchemaVersion);
  out.set("swage", kVersion);
  out.set("command", command);
  for (const auto& [name, value] : result.as_object()) out.set(name, value);
  return out;
}

Json error_json(const std::string& command, ErrorKind kind, const std::string& message) {
  const std::string remedy = remedy_in(message);
  Json error = Json::object(), out = Json::object();
  error.set("kind", name_of(kind));
  error.set("message", message);
  error.set("hint", remedy.empty() ? remedy_for(kind, command) : remedy);
  out.set("error", std::move(error));
  return with_head(command, out);
}

}  // namespace swage::cli
