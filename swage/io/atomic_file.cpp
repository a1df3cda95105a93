#include "swage/io/atomic_file.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string>
#include <system_error>

#include "swage/base/error.h"

namespace swage::io {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "host";
  std::string text = name.data();
  std::replace_if(text.begin(), text.end(), [](char c) { return c == '/'; }, '_');
  return text.empty() ? "host" : text;
}

// ".NAME.partial-HOST-"; the process id and a number follow.
std::string sibling_prefix(const std::filesystem::path& target) {
  return cat(".", target.filename().string(), ".partial-", host_name(), "-");
}

// The process id in "PID-N", the tail of a temporary name.
std::optional<pid_t> process_in(std::string_view tail) {
  pid_t process = 0;
  const auto [end, error] = std::from_chars(tail.data(), tail.data() + tail.size(), process);
  const bool well_formed = error == std::errc() && end != tail.data() + tail.size() && *end == '-';
  return well_formed && process > 0 ? std::optional(process) : std::nullopt;
}

}  // namespace

std::filesystem::path temporary_sibling(const std::filesystem::path& target) {
  const std::string prefix = cat(sibling_prefix(target), ::getpid(), "-");
  for (int i = 0;; ++i) {
    std::filesystem::path path = target.parent_path() / cat(prefix, i);
    std::error_code ignored;
    if (!std::filesystem::exists(std::filesystem::symlink_status(path, ignored))) return path;
  }
}

std::vector<std::filesystem::path> abandoned_siblings(const std::filesystem::path& target) {
  const std::string prefix = sibling_prefix(target);
  std::vector<std::filesystem::path> found;
  std::error_code error;
  std::filesystem::directory_iterator entry(target.parent_path().empty() ? "." : target.parent_path(), error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    const std::optional<pid_t> process = process_in(std::string_view(name).substr(prefix.size()));
    if (process && ::kill(*process, 0) != 0 && errno == ESRCH) found.push_back(entry->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

AtomicFile::AtomicFile(const std::filesystem::path& target)
    : target_(target), temporary_(temporary_sibling(target)), file_(temporary_, O_WRONLY | O_CREAT | O_EXCL) {}

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
