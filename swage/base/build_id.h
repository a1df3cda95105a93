// Which build of the program this is.
#pragma once

#include <string>

namespace swage {

// The linker's digest (GNU build id, SHA-1) of the file that this function was loaded from, libswage.so or a program
// that it is linked into: 40 hex digits, as `readelf -n` prints them. Builds of one version that calculate otherwise
// differ in it. Empty if the linker noted nothing.
std::string build_id();

}  // namespace swage
