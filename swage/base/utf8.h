// Text from outside must be UTF-8 before it reaches a tokenizer, a template or a YAML parser.
#pragma once
#include <cstddef>
#include <string_view>

namespace swage {

// Byte offset of the first place where `text` is not UTF-8 (RFC 3629: no overlong forms, no surrogates, at most
// U+10FFFF); text.size() if all of it is.
size_t valid_utf8_prefix(std::string_view text);

}  // namespace swage
