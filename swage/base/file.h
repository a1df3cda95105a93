// The one door for small files that come from outside: a model's configs, recipes, token files. (Weights are mapped:
// io/mmap_file.h.)
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "swage/base/json.h"

namespace swage {

// More than any known file of its kind has, a hundredth of what would hurt.
inline constexpr uint64_t kMaxConfigBytes =
    uint64_t{64} << 20;  // config.json and the other JSON files of a model, but for its tokenizer
inline constexpr uint64_t kMaxRecipeBytes = uint64_t{16} << 20;

// Contents of a regular file. A pipe, a device or a folder is never read and never waited for. Error(Io) that names the
// file if it is none, cannot be read, or is longer than `max_bytes`, of which no more is read.
std::string read_regular_file(const std::filesystem::path& path, uint64_t max_bytes);

// A JSON file of a model. Error(Io) as above, of kMaxConfigBytes; Error(CorruptData) as parse_json() does, and for more
// than two million values.
Json read_json_file(const std::filesystem::path& path);

// Whether there is an entry of that name. True for dangling links and loops too: opening them then says what is wrong.
bool is_there(const std::filesystem::path& path);

// What the entry is, in words: "a pipe", "a folder", "a regular file".
std::string kind_of_file(const std::filesystem::path& path);

// Standard streams that the caller closed lead nowhere from now on: else the next files that are opened would be taken
// for them, and messages end up in weights. Before anything else of a program.
void open_standard_streams();

}  // namespace swage
