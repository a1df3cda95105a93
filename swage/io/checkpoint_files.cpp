#include "swage/io/checkpoint_files.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/io/safetensors.h"
#include "swage/io/shard_index.h"

namespace swage::io {
namespace {

namespace fs = std::filesystem;

bool is_pickle(const fs::path& path) {
  const std::string name = path.filename().string();
  const std::string extension = path.extension().string();
  const bool torch_bin = extension == ".bin" && (name.starts_with("pytorch_model") || name.starts_with("model"));
  return torch_bin || extension == ".pt" || extension == ".pth" || extension == ".ckpt" || extension == ".pkl";
}

constexpr const char* kGguf = " is GGUF: swage convert FILE.gguf FOLDER --to dense makes a checkpoint of it";

[[noreturn]] void throw_no_weights(const fs::path& folder) {
  std::set<std::string> pickles, others, ggufs;  // sorted: the folder's own order differs from machine to machine
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (is_pickle(entry.path())) pickles.insert(name);
    if (entry.path().extension() == ".safetensors") others.insert(name);
    if (entry.path().extension() == ".gguf") ggufs.insert(name);
  }
  SWAGE_CHECK(!error, Io, folder.string(), ": cannot list the folder: ", error.message());
  SWAGE_CHECK(others.empty(), Io, folder.string(), ": no ", kSingleFileName, " and no ", kIndexFileName, ", only ",
              *others.begin(), others.size() > 1 ? " and others" : "", ": the index is missing");
  SWAGE_CHECK(
      pickles.empty(), Unsupported, folder.string(), ": only a pickle checkpoint (", *pickles.begin(),
      "), which can run code when read; convert it to safetensors first (save_pretrained in transformers does)");
  SWAGE_CHECK(ggufs.empty(), Unsupported, folder.string(), ": no safetensors, but ",
              ggufs.empty() ? "" : *ggufs.begin(), kGguf);
  throw Error(ErrorKind::Io, cat(folder.string(), ": no weights: neither ", kSingleFileName, " nor ", kIndexFileName));
}

std::vector<StoredTensor> tensors_of(const MmapFile& file) {
  return parse_safetensors_header(file.bytes(), file.path().string()).tensors;
}

// Shards of an index, as far as it can be read.
std::set<std::string> shards_named_by(const fs::path& index) {
  std::set<std::string> shards;
  try {
    for (const auto& [tensor, shard] : parse_shard_index(read_file(index), index.string()).weight_map)
      shards.insert(shard);
  } catch (const Error&) {  // of an index that is passed over
  }
  return shards;
}

// Weights that nothing names: no reader takes them, and somebody may think that they are part of the model.
std::string stray_weights(const fs::path& folder, const std::vector<MmapFile>& files) {
  constexpr size_t kNamed = 3;
  std::set<std::string> known, strays;  // sorted: the folder's own order differs from machine to machine
  if (is_there(folder / kIndexFileName)) known = shards_named_by(folder / kIndexFileName);
  for (const MmapFile& file : files) known.insert(file.path().filename().string());
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors") && !name.starts_with('.') && !known.contains(name)) strays.insert(name);
  }
  if (strays.empty()) return {};
  std::string names;
  size_t count = 0;
  for (const std::string& name : strays) {
    if (count++ < kNamed) names += cat(count > 1 ? ", " : "", quoted(name));
  }
  if (count > kNamed) names += cat(" and ", count - kNamed, " more");
  return cat(names, count > 1 ? " lie" : " lies", " beside the weights and ", count > 1 ? "are" : "is",
             " not read: ", is_there(folder / kSingleFileName) ? kSingleFileName : kIndexFileName,
             " is all of the model");
}

}  // namespace

CheckpointFiles::CheckpointFiles(const fs::path& folder) : TensorStore(folder) {
  std::error_code ignored;
  SWAGE_CHECK(fs::exists(folder, ignored), Io, folder.string(), ": no such folder");
  SWAGE_CHECK(folder.extension() != ".gguf" || !fs::is_regular_file(folder, ignored), Unsupported, folder.string(),
              kGguf);
  SWAGE_CHECK(fs::is_directory(folder, ignored), Io, folder.string(), ": not a folder");
  if (is_there(folder / kSingleFileName)) {
    open_single(folder / kSingleFileName);
    if (is_there(folder / kIndexFileName)) warn_of_index(folder / kIndexFileName);
  } else if (is_there(folder / kIndexFileName)) {
    open_indexed(folder / kIndexFileName);
  } else {
    throw_no_weights(folder);
  }
  if (std::string strays = stray_weights(folder, files_); !strays.empty()) warn(std::move(strays));
}

void CheckpointFiles::open_single(const fs::path& path) {
  files_.emplace_back(path);
  std::vector<TensorSpec> specs;
  for (StoredTensor& tensor : tensors_of(files_[0])) {
    places_.emplace(tensor.spec.name, Place{0, tensor.offset, tensor.bytes});
    specs.push_back(std::move(tensor.spec));
  }
  settle(std::move(specs));
}

// transformers takes the single file as well; other readers take what the index names.
void CheckpointFiles::warn_of_index(const fs::path& path) {
  std::string other;
  try {
    for (const auto& [tensor, shard] : parse_shard_index(read_file(path), path.string()).weight_map) {
      if (shard != kSingleFileName) other = shard;
    }
  } catch (const Error& e) {
    warn(cat(kSingleFileName, " is read; the index beside it is passed over: ", e.what()));
    return;
  }
  if (other.empty()) return;
  warn(cat(kSingleFileName, " is read, and ", kIndexFileName, " beside it, which names other files (", other,
           "), is passed over, as transformers does; remove the one that is not meant"));
}

void CheckpointFiles::open_indexed(const fs::path& path) {
  const std::string source = path.string();
  std::map<std::string, std::string> weight_map;  // sorted by tensor name
  for (auto& [tensor, shard] : parse_shard_index(read_file(path), source).weight_map) weight_map.emplace(tensor, shard);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : weight_map) shards.insert(shard);

  std::vector<TensorSpec> specs;
  for (const std::string& shard : shards) {
    SWAGE_CHECK(is_there(folder() / shard), Io, (folder() / shard).string(), ": the shard is missing, ", source,
                " names it");
    files_.emplace_back(folder() / shard);
    for (StoredTensor& tensor : tensors_of(files_.back())) {
      const std::string name = tensor.spec.name;
      const auto entry = weight_map.find(name);
      SWAGE_CHECK(entry != weight_map.end(), CorruptData, source, ": tensor ", quoted(name), " of shard ", shard,
                  " is not in the index");
      SWAGE_CHECK(entry->second == shard, CorruptData, source, ": tensor ", quoted(name), " is in shard ", shard,
                  ", the index places it in ", entry->second);
      places_.emplace(name, Place{files_.size() - 1, tensor.offset, tensor.bytes});
      specs.push_back(std::move(tensor.spec));
    }
  }
  for (const auto& [name, shard] : weight_map)
    SWAGE_CHECK(places_.contains(name), CorruptData, source, ": tensor ", quoted(name), " is not in shard ", shard);
  settle(std::move(specs));
}

std::vector<fs::path> CheckpointFiles::files() const {
  std::vector<fs::path> out;
  for (const MmapFile& file : files_) out.push_back(file.path());
  return out;
}

const CheckpointFiles::Place& CheckpointFiles::place_of(std::string_view name) const {
  return places_.find(spec_of(name).name)->second;
}

const fs::path& CheckpointFiles::file_of(std::string_view name) const { return files_[place_of(name).file].path(); }

std::string_view CheckpointFiles::bytes(std::string_view name) const {
  const Place& place = place_of(name);
  files_[place.file].check_size();
  return files_[place.file].bytes().substr(place.offset, place.bytes);
}

void CheckpointFiles::read_at(std::string_view name, uint64_t offset, char* to, uint64_t count) const {
  const Place& place = place_of(name);
  SWAGE_CHECK(offset <= place.bytes && count <= place.bytes - offset, Internal, "reading ", count, " bytes at ", offset,
              " of tensor ", quoted(name), ", which has ", place.bytes);
  files_[place.file].read_at(to, count, place.offset + offset);
}

std::pair<size_t, uint64_t> CheckpointFiles::position_of(std::string_view name) const {
  const Place& place = place_of(name);
  return {place.file, place.offset};
}

void CheckpointFiles::prefetch(std::string_view name, uint64_t offset, uint64_t count) const {
  const Place& place = place_of(name);
  files_[place.file].will_need(place.offset + offset, count);
}

void CheckpointFiles::drop(std::string_view name) const {
  const Place& place = place_of(name);
  files_[place.file].dont_need(place.offset, place.bytes);
}

}  // namespace swage::io
