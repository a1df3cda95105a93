#include "swage/checkpoint/read_log.h"

#include <algorithm>
#include <charconv>

#include "swage/base/checksum.h"
#include "swage/base/error.h"

namespace swage::checkpoint {
namespace {

constexpr uint64_t kReadAtOnce = uint64_t{4} << 20;

// Of a piece that is read in parts of the same size each time.
class RunningDigest {
 public:
  void add(std::string_view bytes) { digest_ = wide_checksum(bytes, digest_); }
  uint64_t value() const { return digest_; }

 private:
  uint64_t digest_ = 0;
};

uint64_t digest_of_piece(std::string_view bytes) {
  RunningDigest digest;
  for (size_t at = 0; at < bytes.size(); at += kReadAtOnce) digest.add(bytes.substr(at, kReadAtOnce));
  return digest.value();
}

uint64_t from_hex(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  SWAGE_CHECK(error == std::errc() && end == text.data() + text.size(), CorruptData, "\"", text,
              "\" is no digest of what was read");
  return value;
}

}  // namespace

void ReadLog::note(const std::string& tensor, uint64_t offset, std::string_view bytes) {
  add(tensor, {offset, bytes.size()}, digest_of_piece(bytes), true);
}

void ReadLog::add(const std::string& tensor, Range range, uint64_t digest, bool is_news) {
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto [known, is_new] = pieces_[tensor].emplace(range, digest);
  if (is_new && is_news) news_[tensor].push_back(range);
  SWAGE_CHECK(known->second == digest, CorruptData, "the source changed while it was read: tensor ", io::quoted(tensor),
              " is not what it was before");
}

bool ReadLog::knows(const std::string& tensor, uint64_t offset, uint64_t bytes) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto found = pieces_.find(tensor);
  return found != pieces_.end() && found->second.contains({offset, bytes});
}

Json ReadLog::take_news() {
  const std::lock_guard<std::mutex> guard(mutex_);
  Json::Object out;
  for (auto& [tensor, ranges] : news_) {
    std::sort(ranges.begin(), ranges.end());
    Json pieces = Json::array();
    for (const Range& range : ranges)
      pieces.push_back(Json::Array{range.first, range.second, hex64(pieces_.at(tensor).at(range))});
    out.emplace_back(tensor, std::move(pieces));
  }
  news_.clear();
  return Json(std::move(out));
}

void ReadLog::restore(const Json& news) {
  for (const auto& [tensor, pieces] : news.as_object()) {
    for (const Json& piece : pieces.as_array()) {
      const Json::Array& fields = piece.as_array();
      SWAGE_CHECK(fields.size() == 3, CorruptData, "expected offset, bytes and digest of what was read, found ",
                  fields.size(), " values");
      add(tensor, {uint64_t(fields[0].as_int()), uint64_t(fields[1].as_int())}, from_hex(fields[2].as_string()), false);
    }
  }
}

std::vector<std::string> ReadLog::changed(const io::CheckpointFiles& files, size_t most) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  std::vector<std::string> out;
  std::vector<std::pair<std::pair<size_t, uint64_t>, const std::string*>> order;  // from front to back of each file
  for (const auto& [tensor, pieces] : pieces_) {
    if (files.find(tensor) != nullptr)
      order.emplace_back(files.position_of(tensor), &tensor);
    else if (out.size() < most)
      out.push_back(tensor);
  }
  std::sort(order.begin(), order.end());
  std::string buffer;
  for (const auto& [position, tensor] : order) {
    if (out.size() >= most) break;
    const uint64_t size = files.bytes(*tensor).size();
    const auto differs = [&](const auto& piece) {
      const auto [offset, bytes] = piece.first;
      if (offset > size || bytes > size - offset) return true;
      RunningDigest digest;
      for (uint64_t at = 0; at < bytes; at += kReadAtOnce) {
        buffer.resize(std::min(kReadAtOnce, bytes - at));
        files.read_at(*tensor, offset + at, buffer.data(), buffer.size());
        digest.add(buffer);
      }
      return digest.value() != piece.second;
    };
    const auto& pieces = pieces_.at(*tensor);
    if (std::any_of(pieces.begin(), pieces.end(), differs)) out.push_back(*tensor);
  }
  return out;
}

}  // namespace swage::checkpoint
