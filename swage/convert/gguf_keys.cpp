#include "swage/convert/gguf_keys.h"

#include <array>
#include <charconv>
#include <cmath>

#include "swage/base/error.h"

namespace swage::pipeline {

double shortest_of(float value) {
  if (!std::isfinite(value)) return value;
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  double out = 0;
  std::from_chars(text.data(), end, out);
  return out;
}

GgufKeys::GgufKeys(const io::GgufFile& file) : file_(file) {
  const Json* type = find("general.type");
  SWAGE_CHECK(type == nullptr || !type->is_string() || type->as_string() == "model", Unsupported, file.path().string(),
              ": holds no model but ", type->as_string());
  const Json* architecture = find("general.architecture");
  SWAGE_CHECK(architecture != nullptr && architecture->is_string(), CorruptData, file.path().string(),
              ": the key general.architecture is missing");
  architecture_ = architecture->as_string();
}

void GgufKeys::refuse(const std::string& name, const std::string& why) const {
  throw Error(ErrorKind::Unsupported, cat(file_.path().string(), ": key ", architecture_, ".", name, ": ", why));
}

std::optional<int64_t> GgufKeys::whole_if(const std::string& name) const {
  const std::string key = architecture_ + "." + name;
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (value->is_array() && !value->as_array().empty()) {
    for (const Json& one : value->as_array()) {
      if (!(one == value->as_array().front())) refuse(name, "layers with different values are not read");
    }
    value = &value->as_array().front();
  }
  SWAGE_CHECK(value->is_int(), CorruptData, file_.path().string(), ": key ", key, ": expected a whole number, found ",
              value->dump().substr(0, 80));
  SWAGE_CHECK(value->as_int() >= 0 && value->as_int() <= int64_t{1} << 40, CorruptData, file_.path().string(), ": key ",
              key, ": ", value->as_int(), " is out of range");
  return value->as_int();
}

int64_t GgufKeys::whole(const std::string& name) const {
  const std::optional<int64_t> found = whole_if(name);
  SWAGE_CHECK(found.has_value(), CorruptData, file_.path().string(), ": the key ", architecture_, ".", name,
              " is missing");
  return *found;
}

std::optional<double> GgufKeys::real_if(const std::string& name) const {
  const std::string key = architecture_ + "." + name;
  const Json* value = find(key);
  if (value == nullptr) return {};
  SWAGE_CHECK(value->is_number() && std::isfinite(value->as_double()), CorruptData, file_.path().string(), ": key ",
              key, ": expected a number, found ", value->dump().substr(0, 80));
  return shortest_of(float(value->as_double()));
}

double GgufKeys::real(const std::string& name) const {
  const std::optional<double> found = real_if(name);
  SWAGE_CHECK(found.has_value(), CorruptData, file_.path().string(), ": the key ", architecture_, ".", name,
              " is missing");
  return *found;
}

std::optional<std::string> GgufKeys::text_if(const std::string& name) const {
  const Json* value = find(architecture_ + "." + name);
  if (value == nullptr || !value->is_string()) return {};
  return value->as_string();
}

}  // namespace swage::pipeline
