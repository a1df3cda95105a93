#include "swage/io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <system_error>

#include "swage/base/error.h"
#include "swage/base/file.h"

namespace swage::io {
namespace {

// ".NAME.partial-HOST-"; the process id and a number follow.
std::string sibling_prefix(const std::filesystem::path& target) {
  return cat(".", target.filename().string(), ".partial-", host_name(), "-");
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "host";
  std::string text = name.data();
  std::replace_if(text.begin(), text.end(), [](char c) { return c == '/'; }, '_');
  return text.empty() ? "host" : text;
}

std::filesystem::path temporary_sibling(const std::filesystem::path& target) {
  const std::string prefix = cat(sibling_prefix(target), ::getpid(), "-");
  for (int i = 0;; ++i) {
    std::filesystem::path path = target.parent_path() / cat(prefix, i);
    std::error_code ignored;
    if (!std::filesystem::exists(std::filesystem::symlink_status(path, ignored))) return path;
  }
}

namespace {

// The target itself, if a file can take its place: renamed over /dev/null a file would be the device for everybody.
const std::filesystem::path& replaceable(const std::filesystem::path& target) {
  std::error_code ignored;
  const std::filesystem::file_status there = std::filesystem::status(target, ignored);
  SWAGE_CHECK(!std::filesystem::exists(there) || std::filesystem::is_regular_file(there), Io, target.string(),
              ": expected a regular file or a new name, found ", kind_of_file(target));
  return target;
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& target)
    : target_(replaceable(target)),
      temporary_(temporary_sibling(target)),
      file_(temporary_, O_WRONLY | O_CREAT | O_EXCL) {}

AtomicFile::~AtomicFile() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::write(std::string_view bytes) {
  file_.write_at(bytes, size_);
  size_ += bytes.size();
}

void AtomicFile::commit() {
  file_.sync();
  file_.close();
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) throw_io_error(target_, "replace");
  committed_ = true;
  sync_folder(target_.parent_path().empty() ? "." : target_.parent_path());
}

void write_file_atomically(const std::filesystem::path& target, std::string_view contents) {
  AtomicFile file(target);
  file.write(contents);
  file.commit();
}

}  // namespace swage::io
