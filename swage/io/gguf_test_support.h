// GGUF files made by hand.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace swage::io::test {

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

struct GgufParts {
  uint32_t version = 3;
  std::vector<std::string> keys, tensors;
  std::string data;

  static std::string text(std::string_view value) { return raw(uint64_t(value.size())) + std::string(value); }
  static std::string u32(std::string_view key, uint32_t value) { return text(key) + raw(uint32_t{4}) + raw(value); }
  static std::string f32(std::string_view key, float value) { return text(key) + raw(uint32_t{6}) + raw(value); }
  static std::string word(std::string_view key, std::string_view value) {
    return text(key) + raw(uint32_t{8}) + text(value);
  }
  static std::string words(std::string_view key, const std::vector<std::string>& values) {
    std::string out = text(key) + raw(uint32_t{9}) + raw(uint32_t{8}) + raw(uint64_t(values.size()));
    for (const std::string& value : values) out += text(value);
    return out;
  }
  static std::string numbers(std::string_view key, const std::vector<float>& values) {
    std::string out = text(key) + raw(uint32_t{9}) + raw(uint32_t{6}) + raw(uint64_t(values.size()));
    for (const float value : values) out += raw(value);
    return out;
  }
  static std::string tensor(std::string_view name, const std::vector<uint64_t>& inner_first, uint32_t type,
                            uint64_t offset) {
    std::string out = text(name) + raw(uint32_t(inner_first.size()));
    for (const uint64_t size : inner_first) out += raw(size);
    return out + raw(type) + raw(offset);
  }

  std::string file() const {
    std::string out = "GGUF" + raw(version) + raw(uint64_t(tensors.size())) + raw(uint64_t(keys.size()));
    for (const std::string& key : keys) out += key;
    for (const std::string& one : tensors) out += one;
    out.resize((out.size() + 31) / 32 * 32);
    return out + data;
  }
};

}  // namespace swage::io::test
