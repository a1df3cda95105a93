// The files of a model's folder beside its config and weights that go with the model: tokenizer, templates, code,
// licences. What is made of the folder is published, so no link may bring along a file of somebody's that was never
// part of the model.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace swage::io {

inline constexpr uint64_t kMaxSideFileBytes = uint64_t{512} << 20;  // the largest tokenizer known is 35 MB

struct SideFiles {
  std::vector<std::filesystem::path> files;  // regular files and links to such, sorted by name
  std::vector<std::string> left_out;         // a sentence for each entry that looks like one and is not taken
};

// Left out without a word: folders, hidden files, weights in any container, what describes them (config.json, the
// index, settings of a quantization) and what an earlier run of swage said of itself. Error(Io) if the folder cannot be
// listed.
SideFiles side_files(const std::filesystem::path& folder);

// Whether the entry of `folder` is part of it: no link, a link to something inside of it, or, as in the hub's cache, a
// link from MODEL/snapshots/REVISION/ into MODEL/blobs/. Dangling links are not.
bool belongs_to_folder(const std::filesystem::path& folder, const std::filesystem::path& entry);

// Error(Io) that names a file which is there, is about to be written into the output in part, and does not belong to
// the folder.
void check_belongs_to_folder(const std::filesystem::path& folder, const std::filesystem::path& entry);

}  // namespace swage::io
