// The text of swage/scheme/consumers.json, which CMake turns into a literal.
#pragma once

namespace swage::scheme {

extern const char* const kConsumersJson;

}  // namespace swage::scheme
