#include "swage/base/error.h"

#include <utility>

#include "swage/base/printable.h"

namespace swage {

std::string_view name_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::InvalidArgument:
      return "InvalidArgument";
    case ErrorKind::CorruptData:
      return "CorruptData";
    case ErrorKind::Io:
      return "Io";
    case ErrorKind::Unsupported:
      return "Unsupported";
    case ErrorKind::Numerical:
      return "Numerical";
    case ErrorKind::Cancelled:
      return "Cancelled";
    case ErrorKind::Internal:
      return "Internal";
  }
  return "Internal";
}

Error::Error(ErrorKind kind, std::string message)
    : std::runtime_error(""),
      kind_(kind),
      text_(one_line(with_short_names(message), kMostBytes)) {}

void Error::add_context(std::string_view doing) { text_ = one_line(cat(doing, ": ", text_), kMostBytes); }

}  // namespace swage
