#include "swage/job/journal.h"

#include <fcntl.h>

#include <string_view>
#include <utility>

#include "swage/base/checksum.h"
#include "swage/base/error.h"

namespace swage::pipeline {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{4} << 30;
constexpr size_t kDigits = 16;

// The JSON of a line without its newline, if it is whole.
std::optional<std::string_view> payload(std::string_view line, uint64_t seed) {
  if (line.size() < kDigits + 1 || line[kDigits] != ' ') return {};
  const std::string_view json = line.substr(kDigits + 1);
  return line.substr(0, kDigits) == hex64(checksum(json, seed)) ? std::optional(json) : std::nullopt;
}

}  // namespace

Journal::Journal(std::filesystem::path file) : path_(std::move(file)) {
  std::error_code ignored;
  if (std::filesystem::exists(path_, ignored)) read();
}

void Journal::read() {
  const std::string text = io::read_file(path_, kMaxBytes);
  for (size_t end; (end = text.find('\n', bytes_)) != std::string::npos; bytes_ = end + 1) {
    const std::optional<std::string_view> json =
        payload(std::string_view(text).substr(bytes_, end - bytes_), checksum_);
    if (!json) break;
    Json line = parse_json(*json, path_.string());
    if (begun()) {
      entries_.push_back(std::move(line));
    } else {
      header_ = std::move(line);
    }
    checksum_ = checksum(*json, checksum_);
  }
  file_ = io::FileDescriptor(path_, O_RDWR);
}

void Journal::begin(const Json& header) {
  file_ = io::FileDescriptor(path_, O_RDWR | O_CREAT | O_TRUNC);
  entries_.clear();
  bytes_ = checksum_ = 0;
  write_line(header);
  header_ = header;
  io::sync_folder(path_.parent_path());
}

void Journal::append(const Json& entry) {
  SWAGE_CHECK(begun(), Internal, path_.string(), ": an entry before the first line");
  write_line(entry);
}

void Journal::write_line(const Json& line) {
  const std::string json = line.dump();
  const uint64_t sum = checksum(json, checksum_);
  const std::string text = cat(hex64(sum), " ", json, "\n");
  file_.truncate(bytes_);  // what an earlier run did not finish
  file_.write_at(text, bytes_);
  file_.sync();
  bytes_ += text.size();
  checksum_ = sum;
}

}  // namespace swage::pipeline
