// How an error leaves the program: exit code, and the object that --json prints.
#pragma once
#include <string>

#include "swage/base/error.h"
#include "swage/base/json.h"

namespace swage::cli {

// 2: the request is at fault. 1: a file or the machine is. 130: interrupted, as shells have it.
int exit_code(ErrorKind kind);
// {"error": {"kind", "message", "hint"}} under the head that all output has; `command` may be empty. The hint is what
// the message says to do, or what such errors call for.
Json error_json(const std::string& command, ErrorKind kind, const std::string& message);
// What every JSON document begins with, see docs/json.md, and then the members of `result`.
Json with_head(const std::string& command, const Json& result);

}  // namespace swage::cli
