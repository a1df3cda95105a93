#include "swage/job/identity.h"

#include <ATen/Version.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <cstring>

#include "swage/base/build_id.h"
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
