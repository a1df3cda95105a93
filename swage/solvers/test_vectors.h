// For tests: tensors of a trusted safetensors file.
#pragma once
#include <ATen/ATen.h>

#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "swage/base/json.h"

namespace swage::solvers {

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline at::ScalarType dtype_named(const std::string& name) {
  static const std::map<std::string, at::ScalarType> types{
      {"F32", at::kFloat}, {"BF16", at::kBFloat16}, {"F16", at::kHalf}, {"I8", at::kChar},
      {"I32", at::kInt},   {"I64", at::kLong},      {"U8", at::kByte},  {"F8_E4M3", at::kFloat8_e4m3fn}};
  return types.at(name);
}

inline std::map<std::string, at::Tensor> load_tensors(const std::string& path) {
  const std::string bytes = read_text(path);
  uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), 8);
  const Json header = parse_json(std::string_view(bytes).substr(8, header_size), path);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, entry] : header.as_object()) {
    if (name == "__metadata__") continue;
    std::vector<int64_t> shape;
    for (const Json& size : entry.at("shape").as_array()) shape.push_back(size.as_int());
    at::Tensor tensor = at::empty(shape, dtype_named(entry.at("dtype").as_string()));
    std::memcpy(tensor.mutable_data_ptr(),
                bytes.data() + 8 + header_size + entry.at("data_offsets").as_array()[0].as_int(), tensor.nbytes());
    tensors[name] = tensor;
  }
  return tensors;
}

}  // namespace swage::solvers
