// Golden files of compressed-tensors for tests: a case is a .safetensors and a .json beside it.
#pragma once
#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "swage/base/error.h"
#include "swage/base/json.h"

namespace swage::golden {

namespace fs = std::filesystem;
using Tensors = std::map<std::string, at::Tensor>;

inline std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  SWAGE_CHECK(file.good(), Io, "cannot open ", path.string());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline Json read_json(const fs::path& path) { return parse_json(read_text(path), path.string()); }

inline at::ScalarType scalar_type(const std::string& name) {
  static const std::map<std::string, at::ScalarType> types = {
      {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16},
      {"I64", at::kLong},  {"I32", at::kInt},  {"I16", at::kShort},
      {"I8", at::kChar},   {"U8", at::kByte},  {"F8_E4M3", at::kFloat8_e4m3fn}};
  return types.at(name);
}

// A reader for well-formed files, so that these tests do not depend on the one under test.
inline Tensors read_safetensors(const fs::path& path) {
  const std::string file = read_text(path);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), 8);
  const Json header = parse_json(std::string_view(file).substr(8, header_bytes), path.string());
  Tensors tensors;
  for (const auto& [name, entry] : header.as_object()) {
    if (name == "__metadata__") continue;
    std::vector<int64_t> shape;
    for (const Json& size : entry.at("shape").as_array()) shape.push_back(size.as_int());
    const int64_t begin = entry.at("data_offsets").as_array().at(0).as_int();
    at::Tensor tensor = at::empty(shape, scalar_type(entry.at("dtype").as_string()));
    std::memcpy(tensor.mutable_data_ptr(), file.data() + 8 + header_bytes + begin, tensor.nbytes());
    tensors[name] = tensor;
  }
  return tensors;
}

// The selection in the repository, then the full set where it lies beside the checkout.
inline std::vector<fs::path> roots() {
  std::vector<fs::path> found = {fs::path(SWAGE_TEST_DATA) / "format"};
  const fs::path full = fs::path(SWAGE_FULL_DATA) / "formats" / "vectors";
  if (fs::exists(full)) found.push_back(full);
  return found;
}

struct Case {
  std::string name;
  Json json;
  Tensors tensors;
  at::Tensor input_OI;      // undefined where the input lies inside the case's own file
  std::string input_dtype;  // "f32", "bf16", "f16"
};

// Cases of `library` ("ct-0.20.0") in all roots whose format is one of `formats`.
inline std::vector<Case> cases(const std::string& library, const std::vector<std::string>& formats) {
  std::vector<Case> found;
  for (const fs::path& root : roots()) {
    const Tensors inputs = read_safetensors(root / "inputs.safetensors");
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(root / library)) {
      if (entry.path().extension() == ".json") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    const size_t before = found.size();
    for (fs::path path : files) {
      Case one{path.stem().string(), read_json(path), {}, {}, {}};
      if (std::find(formats.begin(), formats.end(), one.json.get_string("format", "")) == formats.end()) continue;
      if (const Json* input = one.json.find("input"); input && input->is_object()) {
        const std::string name = input->get_string("tensor", "");
        if (inputs.count(name)) one.input_OI = inputs.at(name);
        one.input_dtype = name.substr(name.rfind('.') + 1);
      }
      one.tensors = read_safetensors(path.replace_extension(".safetensors"));
      found.push_back(std::move(one));
    }
    std::cout << found.size() - before << " cases from " << (root / library).string() << "\n";
  }
  return found;
}

// Same dtype, shape and bytes: tells -0 from 0 and compares NaNs.
inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined() || a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

}  // namespace swage::golden
