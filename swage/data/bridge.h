// Calls into the Rust library: its failures become swage::Error. Included by this folder's sources only, because the
// generated header exists after the first build.
#pragma once
#include <string_view>
#include <utility>

#include "rust/cxx.h"
#include "swage-rust/src/lib.rs.h"
#include "swage/base/error.h"

namespace swage::data {

// Runs `call`; what Rust reports is rethrown as Error(kind, "source: message").
template <class Call>
auto call_bridge(ErrorKind kind, std::string_view source, Call&& call) {
  try {
    return std::forward<Call>(call)();
  } catch (const rust::Error& error) {
    throw Error(kind, cat(source, ": ", error.what()));
  }
}

// A view for Rust; the text must have passed check_utf8.
inline rust::Str as_str(std::string_view text) { return rust::Str(text.data(), text.size()); }

}  // namespace swage::data
