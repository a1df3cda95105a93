// Errors of swage: one exception type with a kind, a message, and context added on the way up.
#pragma once
#include <cstddef>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace swage {

enum class ErrorKind {
  InvalidArgument,  // the caller or user asked for something that cannot be
  CorruptData,      // a file does not hold what its format demands
  Io,               // the operating system refused a file operation
  Unsupported,      // valid, but not something swage does
  Numerical,        // arithmetic failed: not positive definite, not finite
  Cancelled,        // the user asked to stop
  Internal,         // a bug in swage
};

// The kind's name as written in code: "CorruptData".
std::string_view name_of(ErrorKind kind);

// Streams all arguments into one string.
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string message);

  ErrorKind kind() const { return kind_; }
  // Message with context, outermost first: "compressing layer 3: q_proj: not finite". One line that a terminal can
  // show, whatever the names in it hold, of a few hundred words at most.
  const char* what() const noexcept override { return text_.c_str(); }
  // Says what was being done when the error passed through; call it, then rethrow.
  void add_context(std::string_view doing);

 private:
  static constexpr size_t kMostBytes = 2000;
  ErrorKind kind_;
  std::string text_;
};

// Throws Error(ErrorKind::kind, message made of the remaining arguments) unless `condition` holds.
#define SWAGE_CHECK(condition, kind, ...)                                        \
  do {                                                                           \
    if (!(condition)) [[unlikely]]                                               \
      throw ::swage::Error(::swage::ErrorKind::kind, ::swage::cat(__VA_ARGS__)); \
  } while (false)

}  // namespace swage
