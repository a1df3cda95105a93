// A JSON text with some of its values changed: what stays keeps the spelling that it has in the text, escapes of its
// strings and signs of its zeros included, which a Json does not hold.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "swage/base/json.h"

namespace swage {

// `now` in block style, two spaces a level, as dump(2). Members of objects that `text` has with an equal value are
// spelled as there, white space in them included. Where `text` is no JSON, all of it is as dump(2) has it.
std::string respelled(std::string_view text, const Json& now);

// The same of a file's text, with a newline at its end. `file` need not be there.
std::string respelled_file(const std::filesystem::path& file, const Json& now);

}  // namespace swage
