// JSON values as Python's own: dict, list, str, int, float, bool, None, and back.
#pragma once
#include <nanobind/nanobind.h>

#include "swage/base/json.h"

namespace swage::python {

// Error(InvalidArgument) for what JSON has no word for. Tuples and other sequences are arrays, paths strings.
Json to_json(nanobind::handle value);
nanobind::object to_python(const Json& value);

}  // namespace swage::python
