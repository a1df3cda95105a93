// Runs a fuzz target without a fuzzer: on every file of a corpus, and on mutations of each (bytes changed, cut out,
// doubled) that depend on nothing but the file. A target that finds something wrong ends the process.
//
//   replay FOLDER [MUTATIONS]
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

namespace fs = std::filesystem;

// splitmix64
struct Draw {
  uint64_t state;
  uint64_t below(uint64_t bound) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % bound;
  }
};

std::vector<uint8_t> mutated(std::vector<uint8_t> bytes, Draw& draw) {
  for (uint64_t changes = 1 + draw.below(4); changes > 0 && !bytes.empty(); --changes) {
    const auto at = bytes.begin() + int64_t(draw.below(bytes.size()));
    const auto end = at + int64_t(std::min<uint64_t>(1 + draw.below(16), uint64_t(bytes.end() - at)));
    switch (draw.below(4)) {
      case 0:
        *at = uint8_t(draw.below(256));
        break;
      case 1:
        *at = uint8_t(*at ^ (1u << draw.below(8)));
        break;
      case 2:
        bytes.erase(at, end);
        break;
      default: {
        const std::vector<uint8_t> copy(at, end);
        bytes.insert(at, copy.begin(), copy.end());
      }
    }
  }
  return bytes;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) return std::fputs("replay FOLDER [MUTATIONS]\n", stderr), 2;
  const int mutations = count > 2 ? std::atoi(arguments[2]) : 0;
  std::vector<fs::path> files;
  for (const auto& file : fs::directory_iterator(arguments[1])) files.push_back(file.path());
  std::sort(files.begin(), files.end());
  for (const fs::path& path : files) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    Draw draw{bytes.size()};
    for (int i = 0; i < mutations; ++i) {
      const std::vector<uint8_t> other = mutated(bytes, draw);
      LLVMFuzzerTestOneInput(other.data(), other.size());
    }
  }
  std::printf("%zu files, %d mutations of each\n", files.size(), mutations);
  return files.empty() ? 1 : 0;
}
