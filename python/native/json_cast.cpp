#include "python/native/json_cast.h"

#include <nanobind/stl/string.h>

#include "swage/base/error.h"

namespace swage::python {
namespace {

namespace nb = nanobind;

constexpr int kMostDepth = 100;  // as JSON texts may be nested

std::string text_of(nb::handle value) { return nb::cast<std::string>(nb::str(value)); }

Json convert(nb::handle value, int depth);

Json array_of(nb::handle values, int depth) {
  Json out = Json::array();
  for (const nb::handle item : nb::iter(values)) out.push_back(convert(item, depth + 1));
  return out;
}

Json object_of(nb::dict values, int depth) {
  Json::Object out;
  for (const auto [key, value] : values) out.emplace_back(text_of(key), convert(value, depth + 1));
  return Json(std::move(out));
}

Json convert(nb::handle value, int depth) {
  SWAGE_CHECK(depth < kMostDepth, InvalidArgument, "a value nested more than ", kMostDepth, " deep");
  if (value.is_none()) return {};
  if (nb::isinstance<nb::bool_>(value)) return Json(nb::cast<bool>(value));
  if (nb::isinstance<nb::int_>(value)) return Json::number(text_of(value));
  if (nb::isinstance<nb::float_>(value)) return Json(nb::cast<double>(value));
  if (nb::isinstance<nb::str>(value)) return Json(nb::cast<std::string>(value));
  if (nb::isinstance<nb::dict>(value)) return object_of(nb::borrow<nb::dict>(value), depth);
  if (nb::hasattr(value, "__fspath__")) return Json(text_of(value.attr("__fspath__")()));
  const bool listed = nb::isinstance<nb::list>(value) || nb::isinstance<nb::tuple>(value) ||
                      nb::isinstance<nb::set>(value) || nb::isinstance<nb::frozenset>(value);
  if (listed) return array_of(value, depth);
  throw Error(ErrorKind::InvalidArgument, cat("a value of type ", text_of(value.type().attr("__name__")),
                                              ": expected dict, list, str, number, bool or None"));
}

nb::object number_to_python(const Json& value) {
  if (value.is_int()) return nb::cast(value.as_int());
  const std::string text = value.dump();  // of any size: Python's own words for it
  const bool whole = text.find_first_not_of("-0123456789") == std::string::npos;
  return (whole ? nb::handle(reinterpret_cast<PyObject*>(&PyLong_Type))
                : nb::handle(reinterpret_cast<PyObject*>(&PyFloat_Type)))(text);
}

}  // namespace

Json to_json(nb::handle value) { return convert(value, 0); }

nb::object to_python(const Json& value) {
  if (value.is_null()) return nb::none();
  if (value.is_bool()) return nb::cast(value.as_bool());
  if (value.is_number()) return number_to_python(value);
  if (value.is_string()) return nb::cast(value.as_string());
  if (value.is_array()) {
    nb::list out;
    for (const Json& item : value.as_array()) out.append(to_python(item));
    return out;
  }
  nb::dict out;
  for (const auto& [key, member] : value.as_object()) out[key.c_str()] = to_python(member);
  return out;
}

}  // namespace swage::python
