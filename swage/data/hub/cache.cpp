#include "swage/data/hub/cache.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cctype>
#include <cerrno>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/base/utf8.h"
#include "swage/io/atomic_file.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr size_t kLongestName = 96, kLongestPart = 200, kMostParts = 5;

bool is_name(std::string_view name) {
  const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; };
  return !name.empty() && name.size() <= kLongestName && std::isalnum(static_cast<unsigned char>(name[0])) &&
         std::all_of(name.begin(), name.end(), allowed) && name.find("..") == std::string_view::npos;
}

// Calls `fits` for each part between slashes; false as soon as one does not, or when there are too many.
template <class Fits>
bool all_parts(std::string_view path, Fits fits) {
  for (size_t parts = 1; parts <= kMostParts; ++parts) {
    const size_t slash = path.find('/');
    if (!fits(path.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
  return false;
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c); });
}

void make_folders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(ErrorKind::Io, cat(folder.string(), ": cannot make the folder: ", error.message()));
}

}  // namespace

std::optional<HubRepo> parse_hub_id(const std::string& text, RepoType type) {
  const size_t at = text.find('@'), slash = text.find('/');
  HubRepo repo{type, text.substr(0, at)};
  if (at != std::string::npos) repo.revision = text.substr(at + 1);
  const bool two_parts = slash < repo.id.size();
  const bool valid =
      two_parts ? is_name(repo.id.substr(0, slash)) && is_name(repo.id.substr(slash + 1)) : is_name(repo.id);
  if (!valid || !all_parts(repo.revision, is_name)) return std::nullopt;
  return repo;
}

bool is_safe_path(std::string_view path) {
  if (valid_utf8_prefix(path) != path.size()) return false;
  return all_parts(path, [](std::string_view part) {
    const auto fits = [](unsigned char c) { return c >= 32 && c != 127 && c != '\\'; };
    return !part.empty() && part.size() <= kLongestPart && part[0] != '.' &&
           std::all_of(part.begin(), part.end(), fits);
  });
}

bool is_safe_name(std::string_view name) { return is_name(name); }

HubCache::HubCache(const fs::path& root, const HubRepo& repo)
    : root_(fs::absolute(root)),
      name_(repo.type == RepoType::Model ? "models" : "datasets"),
      revision_(repo.revision) {
  for (size_t begin = 0; begin != std::string::npos;) {
    const size_t slash = repo.id.find('/', begin);
    name_ += "--" + repo.id.substr(begin, slash - begin);
    begin = slash == std::string::npos ? slash : slash + 1;
  }
  folder_ = root_ / name_;
}

std::string HubCache::commit() const {
  if (is_commit(revision_)) return revision_;
  std::error_code ignored;
  const fs::path ref = folder_ / "refs" / revision_;
  if (!fs::is_regular_file(ref, ignored)) return "";
  std::string text = read_regular_file(ref, 4096);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return is_safe_name(text) ? text : "";
}

fs::path HubCache::snapshot(const std::string& commit) const { return folder_ / "snapshots" / commit; }

fs::path HubCache::blob(const std::string& etag) const { return folder_ / "blobs" / etag; }

bool HubCache::holds(const std::string& commit, const std::string& file) const {
  std::error_code ignored;
  return fs::exists(snapshot(commit) / file, ignored);
}

void HubCache::link(const std::string& commit, const std::string& file, const std::string& etag) const {
  const fs::path at = snapshot(commit) / file;
  make_folders(at.parent_path());
  std::error_code error;
  fs::remove(at, error);
  fs::create_symlink(blob(etag).lexically_relative(at.parent_path()), at, error);
  if (!error) return;
  fs::rename(blob(etag), at, error);
  if (error) throw Error(ErrorKind::Io, cat(at.string(), ": cannot be made: ", error.message()));
}

void HubCache::remember(const std::string& commit) const {
  if (revision_ == commit) return;
  const fs::path ref = folder_ / "refs" / revision_;
  make_folders(ref.parent_path());
  io::write_file_atomically(ref, commit);
}

io::FileDescriptor HubCache::Lock::open(const HubCache& cache, const std::string& etag) {
  const fs::path folder = cache.root_ / ".locks" / cache.name_;
  make_folders(folder);
  make_folders(cache.folder_ / "blobs");
  return io::FileDescriptor(folder / (etag + ".lock"), O_RDWR | O_CREAT);
}

bool HubCache::Lock::try_lock() const {
  if (flock(file_.get(), LOCK_EX | LOCK_NB) == 0) return true;
  if (errno != EWOULDBLOCK && errno != EINTR) io::throw_io_error(file_.path(), "lock");
  return false;
}

}  // namespace swage::data
