// Text for people: what comes from files may hold bytes that a terminal obeys.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace swage {

// The text with control characters (C0 but newline and tab, DEL, C1), marks that turn the direction of writing, and
// bytes that are not UTF-8 shown as "\x1b" or "\u202e". Everything else is as it was.
std::string printable(std::string_view text);

// The text with names of a sensible length: what stands between double quotes is cut in its middle, to 120 bytes.
std::string with_short_names(std::string_view text);

// What printable() gives, on one line ("\n" for a newline), of at most `most_bytes`: of a longer one the middle is left
// out, and how much is said.
std::string one_line(std::string_view text, size_t most_bytes);

}  // namespace swage
