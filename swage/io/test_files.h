// What tests of file readers need: a folder of their own, files with chosen bytes, and errors checked by kind and
// words. Included by tests only.
#pragma once
#include <gtest/gtest.h>

#include <unistd.h>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

#include "swage/base/error.h"

namespace swage::io::test {

// An empty folder below the system's temporary one, removed at the end.
class TempFolder {
 public:
  TempFolder() {
    static std::atomic<int> number = 0;
    path_ = std::filesystem::temp_directory_path() / cat("swage-test-", ::getpid(), "-", number++);
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  // Writes a file with these bytes, in a folder that is made if need be, and returns its path.
  std::filesystem::path write(std::string_view name, std::string_view bytes) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
    return path_ / name;
  }
  // Number of entries, hidden ones included.
  size_t entries() const {
    return size_t(std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
  }

 private:
  std::filesystem::path path_;
};

inline std::string contents_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A safetensors file of any header text and data, well formed or not.
inline std::string safetensors_bytes(std::string_view json, std::string_view data) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += char(uint8_t(uint64_t{json.size()} >> (8 * i)));
  return out.append(json).append(data);
}

// Runs `action` and expects an Error of this kind whose message contains `words`.
template <class Action>
void expect_error(ErrorKind kind, std::string_view words, Action action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected " << name_of(kind) << " with \"" << words << "\"";
  } catch (const Error& e) {
    EXPECT_EQ(name_of(e.kind()), name_of(kind)) << e.what();
    EXPECT_NE(std::string_view(e.what()).find(words), std::string_view::npos) << e.what() << "\n  lacks: " << words;
  }
}

}  // namespace swage::io::test
