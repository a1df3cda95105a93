#include "swage/resolve/source.h"

#include <sys/stat.h>

#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/io/checkpoint_files.h"
#include "swage/io/mmap_file.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;

// What the weights are read by, beside the weights.
constexpr const char* kSettings[] = {"config.json", "quantize_config.json", "quant_config.json"};

constexpr const char* kGone = "gone";

std::string digest_of_file(const fs::path& path) { return hex64(checksum(io::MmapFile(path).bytes())); }

// Every write to a file changes the time of its last change of status, which nobody can set.
Json state_of(const std::vector<fs::path>& files) {
  Json out = Json::object();
  for (const fs::path& file : files) {
    struct stat status{};
    const bool there = ::stat(file.c_str(), &status) == 0;
    out.set(file.filename().string(),
            there ? cat(status.st_dev, " ", status.st_ino, " ", status.st_size, " bytes ", status.st_mtim.tv_sec, ".",
                        status.st_mtim.tv_nsec, " ", status.st_ctim.tv_sec, ".", status.st_ctim.tv_nsec)
                  : kGone);
  }
  return out;
}

// Names, types, shapes and places of each file's tensors.
Json layout_of(const checkpoint::Reader& reader) {
  const std::vector<fs::path> files = reader.files();
  std::vector<uint64_t> digests(files.size());
  for (const io::TensorSpec& spec : reader.tensors()) {
    const auto [file, offset] = reader.position_of(spec.name);
    digests[file] = checksum(cat(spec.name, " ", io::name_of(spec.dtype), " ", io::shape_text(spec.shape), " ", offset),
                             digests[file]);
  }
  Json out = Json::object();
  for (size_t i = 0; i < files.size(); ++i) out.set(files[i].filename().string(), hex64(digests[i]));
  return out;
}

// The names of those that are gone or have other bytes.
std::string changed_files(const std::vector<std::pair<fs::path, std::string>>& digests) {
  std::string out;
  for (const auto& [path, digest] : digests) {
    const char* how = !is_there(path) ? " (is gone)" : digest_of_file(path) != digest ? "" : nullptr;
    if (how != nullptr) out += cat(out.empty() ? "" : ", ", path.filename().string(), how);
  }
  return out;
}

// Files that were written to, as their sizes and times tell.
std::string difference_of_times(const Json& before, const Json& now) {
  const auto visible = [](const std::string& state) { return state.substr(0, state.rfind(' ')); };
  std::string out;
  for (const auto& [name, state] : now.as_object()) {
    const std::string was = before.at(name).as_string(), is = state.as_string();
    if (visible(was) != visible(is)) out += (out.empty() ? "" : ", ") + name;
  }
  return out;
}

std::string name_of_folder(const fs::path& folder) {
  std::error_code error;
  const fs::path absolute = fs::absolute(folder, error).lexically_normal();
  return (absolute.has_filename() ? absolute : absolute.parent_path()).filename().string();
}

}  // namespace

Source::Source(const fs::path& folder)
    : folder_(folder),
      reader_(folder, &log_),
      name_(name_of_folder(folder)),
      state_(state_of(reader_.files())),
      side_(io::side_files(folder)) {
  identity_ = Json::object();
  for (const char* name : kSettings) {
    const fs::path path = folder_ / name;
    if (!is_there(path)) continue;
    io::check_belongs_to_folder(folder_, path);
    settings_.emplace_back(path, digest_of_file(path));
    identity_.set(name, settings_.back().second);
  }
  const Json layouts = layout_of(reader_);
  for (const auto& [file, layout] : layouts.as_object()) identity_.set(file, layout);
  for (const fs::path& file : side_.files) copied_.emplace_back(file, digest_of_file(file));
}

std::vector<std::string> Source::warnings() const {
  std::vector<std::string> out = reader_.warnings();
  out.insert(out.end(), side_.left_out.begin(), side_.left_out.end());
  return out;
}

void Source::copy_side_files(checkpoint::Writer& writer, std::string_view but) const {
  for (const fs::path& file : side_.files) {
    if (file.filename() != but) writer.copy_file(file, file.filename().string());
  }
}

std::string Source::changed_weights() const {
  for (const fs::path& file : reader_.files()) {
    if (!is_there(file)) return cat(file.filename().string(), " (is gone)");
  }
  constexpr size_t kNamed = 3;
  const io::CheckpointFiles now(folder_);  // by their names: another file may have taken the place of one that is open
  std::string out;
  for (const std::string& tensor : log_.changed(now, kNamed)) {
    const fs::path file = now.find(tensor) != nullptr ? now.file_of(tensor) : fs::path("all files");
    out += cat(out.empty() ? "" : ", ", file.filename().string(), ": tensor ", io::quoted(tensor));
  }
  return out;
}

void Source::check_unchanged() const {
  constexpr const char *kWhat = ": the source changed while it was read: ",
                       *kAnew = "; what was made of it is thrown away, start the run again";
  const std::string settings = changed_files(settings_), copied = changed_files(copied_);
  SWAGE_CHECK(settings.empty(), CorruptData, folder_.string(), kWhat, settings, kAnew);
  SWAGE_CHECK(copied.empty(), Io, folder_.string(), kWhat, copied);
  const Json now = state_of(reader_.files());
  if (now == state_) return;
  std::string changed;
  try {
    changed = changed_weights();
  } catch (const Error& e) {
    changed = e.what();
  }
  SWAGE_CHECK(changed.empty(), CorruptData, folder_.string(), kWhat, changed, kAnew);
  // Everything is as it is there now; whether it was when the run began nobody can tell. A run that goes on with this
  // one begins with it.
  const std::string touched = difference_of_times(state_, now);
  SWAGE_CHECK(touched.empty(), Io, folder_.string(), kWhat, touched, ", which was written to");
}

}  // namespace swage::pipeline
