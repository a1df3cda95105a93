#include "swage/pipeline/identity.h"

#include <ATen/Version.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>

#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/io/mmap_file.h"
#include "swage/kernels/kernels.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;

// Length field and JSON of a safetensors file.
std::string header_digest(const fs::path& path) {
  const io::FileDescriptor file(path, O_RDONLY);
  const uint64_t size = fs::file_size(path);
  uint64_t length = 0;
  if (size >= sizeof length) file.read_at(reinterpret_cast<char*>(&length), sizeof length, 0);
  std::string header(std::min(length, size - std::min<uint64_t>(size, sizeof length)), 0);
  file.read_at(header.data(), header.size(), sizeof length);
  return hex64(checksum(header));
}

// Notes follow each other: header, name and description, both padded to four bytes.
std::string build_id_note(std::string_view notes) {
  const auto padded = [](size_t size) { return (size + 3) / 4 * 4; };
  ElfW(Nhdr) note;
  while (notes.size() >= sizeof note) {
    std::memcpy(&note, notes.data(), sizeof note);
    const size_t at = sizeof note + padded(note.n_namesz);
    if (at + note.n_descsz > notes.size()) break;
    if (note.n_type == NT_GNU_BUILD_ID && notes.substr(sizeof note, note.n_namesz) == std::string_view("GNU", 4)) return hex64(checksum(notes.substr(at, note.n_descsz)));
    notes.remove_prefix(std::min(notes.size(), at + padded(note.n_descsz)));
  }
  return {};
}

// What the linker noted in the file that this function was loaded from (GNU build id): a digest of the code. Empty if it noted nothing.
std::string build_id() {
  struct Search {
    uintptr_t inside;
    std::string found;
  } search{reinterpret_cast<uintptr_t>(&build_id), {}};
  dl_iterate_phdr(
      [](dl_phdr_info* object, size_t, void* data) {
        Search& search = *static_cast<Search*>(data);
        const std::span<const ElfW(Phdr)> segments(object->dlpi_phdr, object->dlpi_phnum);
        const bool ours = std::any_of(segments.begin(), segments.end(), [&](const ElfW(Phdr) & segment) {
          return segment.p_type == PT_LOAD && search.inside - (object->dlpi_addr + segment.p_vaddr) < segment.p_memsz;
        });
        if (!ours) return 0;
        for (const ElfW(Phdr) & segment : segments) {
          if (segment.p_type == PT_NOTE) search.found += build_id_note({reinterpret_cast<const char*>(object->dlpi_addr + segment.p_vaddr), segment.p_memsz});
        }
        return 1;
      },
      &search);
  return search.found;
}

constexpr off_t kSmallFile = 64 << 20;  // larger ones are weights of some kind

// Size, time of the last change, and a digest.
std::string identity_of_file(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) io::throw_io_error(path, "get the status");
  const bool weights = path.extension() == ".safetensors";
  if (!weights && status.st_size <= kSmallFile) return hex64(checksum(io::MmapFile(path).bytes()));
  return cat(status.st_size, " bytes of ", status.st_mtim.tv_sec, " s ", status.st_mtim.tv_nsec, " ns ", weights ? header_digest(path) : "");
}

// Short values are shown, long ones only named.
std::string shown(const Json& value) {
  const std::string text = value.is_string() ? value.as_string() : value.dump();
  return text.size() <= 40 ? text : std::string();
}

void add(std::string& out, const std::string& text) { out += (out.empty() ? "" : "; ") + text; }

}  // namespace

Json source_identity(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file()) files.push_back(entry->path());
  }
  SWAGE_CHECK(!error, Io, folder.string(), ": cannot list the folder: ", error.message());
  std::sort(files.begin(), files.end());
  Json out = Json::object();
  for (const fs::path& file : files) out.set(file.filename().string(), identity_of_file(file));
  return out;
}

Json program_identity() {
  Json out = Json::object();
  out.set("build", build_id());
  out.set("libtorch", TORCH_VERSION);
  out.set("instructions", cat(at::get_cpu_capability(), ", ", kernels::instruction_set()));
  return out;
}

std::string digest_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return "none";
  const at::Tensor flat = tensor.cpu().contiguous();
  const std::string shape = io::shape_text(tensor.sizes().vec());
  return hex64(checksum({static_cast<const char*>(flat.const_data_ptr()), size_t(flat.nbytes())}, checksum(shape)));
}

std::string digest_of(const std::vector<io::TensorSpec>& tensors) {
  uint64_t sum = 0;
  for (const io::TensorSpec& spec : tensors) sum = checksum(cat(spec.name, " ", io::name_of(spec.dtype), " ", io::shape_text(spec.shape)), sum);
  return hex64(sum);
}

std::string difference(const Json& before, const Json& now) {
  std::string out;
  for (const auto& [name, value] : now.as_object()) {
    const Json* old = before.find(name);
    if (old == nullptr) {
      add(out, name + " (is new)");
    } else if (value.is_object() && old->is_object()) {
      const std::string inner = difference(*old, value);
      if (!inner.empty()) add(out, cat(name, ": ", inner));
    } else if (value != *old) {
      const std::string was = shown(*old), is = shown(value);
      add(out, was.empty() || is.empty() ? name : cat(name, " (was ", was, ", is ", is, ")"));
    }
  }
  for (const auto& [name, value] : before.as_object()) {
    if (now.find(name) == nullptr) add(out, name + " (is gone)");
  }
  return out;
}

}  // namespace swage::pipeline
