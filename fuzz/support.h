// What fuzz targets share.
#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <string_view>

#include "swage/base/error.h"

namespace fuzz {

// A failed expectation is a finding.
inline void expect(bool holds) {
  if (!holds) __builtin_trap();
}

// Runs `read`; an Error of one of these kinds is a proper refusal, any other is a finding.
template <class Read>
void refuses_or_reads(std::initializer_list<swage::ErrorKind> kinds, Read&& read) {
  try {
    read();
  } catch (const swage::Error& error) {
    for (const swage::ErrorKind kind : kinds) {
      if (error.kind() == kind) return;
    }
    expect(false);
  }
}

// A folder of this process for readers that take files; TMPDIR=/dev/shm makes it quick.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "swage-fuzz-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const char* name, const uint8_t* data, size_t size) const {
    std::ofstream file(path_ / name, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(data), std::streamsize(size));
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace fuzz
