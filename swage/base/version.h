// The version, here and nowhere else: CMakeLists.txt reads it from this file.
#pragma once

namespace swage {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace swage
