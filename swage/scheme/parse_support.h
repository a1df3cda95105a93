// What the readers of a config's JSON share.
#pragma once
#include <string>
#include <string_view>

#include "swage/base/error.h"

namespace swage::scheme {

// Runs `read` and puts `where` before what it complains of.
template <class Read>
auto within(std::string_view where, Read read) {
  try {
    return read();
  } catch (Error& error) {
    error.add_context(where);
    throw;
  }
}

inline std::string lower_case(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  return text;
}

}  // namespace swage::scheme
