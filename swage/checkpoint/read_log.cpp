#include "swage/checkpoint/read_log.h"

#include <algorithm>
#include <charconv>

#include "swage/base/checksum.h"
#include "swage/base/error.h"

namespace swage::checkpoint {
namespace {

constexpr uint64_t kReadAtOnce = uint64_t{4} << 20;

// Of what is read in parts of the same sizes each time.
class RunningDigest {
 public:
  void add(std::string_view bytes) { digest_ = wide_checksum(bytes, digest_); }
  void add_piece(std::string_view bytes) {
    for (size_t at = 0; at < bytes.size(); at += kReadAtOnce) add(bytes.substr(at, kReadAtOnce));
  }
  uint64_t value() const { return digest_; }

 private:
  uint64_t digest_ = 0;
};

uint64_t from_hex(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  SWAGE_CHECK(error == std::errc() && end == text.data() + text.size(), CorruptData, "\"", text,
              "\" is no digest of what was read");
  return value;
}

}  // namespace

void ReadLog::note(const std::string& tensor, uint64_t offset, std::string_view bytes) {
  note_runs(tensor, offset, 0, 1, bytes);
}

void ReadLog::note_runs(const std::string& tensor, uint64_t offset, uint64_t stride, uint64_t runs,
                        std::string_view bytes) {
  const uint64_t each = bytes.size() / runs;
  RunningDigest digest;
  for (uint64_t run = 0; run < runs; ++run) digest.add_piece(bytes.substr(run * each, each));
  add(tensor, {offset, each, runs, stride}, digest.value(), true);
}

void ReadLog::add(const std::string& tensor, const Piece& piece, uint64_t digest, bool is_news) {
  const std::lock_guard<std::mutex> guard(mutex_);
  const auto [known, is_new] = pieces_[tensor].emplace(piece, digest);
  if (is_new && is_news) news_[tensor].push_back(piece);
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
  for (auto& [tensor, news] : news_) {
    std::sort(news.begin(), news.end());
    Json list = Json::array();
    for (const Piece& piece : news) {
      Json::Array fields{piece.offset, piece.bytes, hex64(pieces_.at(tensor).at(piece))};
      if (piece.runs > 1) fields.insert(fields.end(), {piece.runs, piece.stride});
      list.push_back(std::move(fields));
    }
    out.emplace_back(tensor, std::move(list));
  }
  news_.clear();
  return Json(std::move(out));
}

void ReadLog::restore(const Json& news) {
  for (const auto& [tensor, pieces] : news.as_object()) {
    for (const Json& piece : pieces.as_array()) {
      const Json::Array& fields = piece.as_array();
      SWAGE_CHECK(fields.size() == 3 || fields.size() == 5, CorruptData,
                  "expected offset, bytes and digest of what was read, found ", fields.size(), " values");
      Piece read{uint64_t(fields[0].as_int()), uint64_t(fields[1].as_int())};
      if (fields.size() == 5) {
        read.runs = uint64_t(fields[3].as_int());
        read.stride = uint64_t(fields[4].as_int());
      }
      add(tensor, read, from_hex(fields[2].as_string()), false);
    }
  }
}

bool ReadLog::differs(const io::TensorStore& files, const std::string& tensor, const Piece& piece, uint64_t digest) {
  const uint64_t size = files.bytes(tensor).size();
  std::string buffer;
  RunningDigest found;
  for (uint64_t run = 0; run < piece.runs; ++run) {
    const uint64_t offset = piece.offset + run * piece.stride;
    if (offset > size || piece.bytes > size - offset) return true;
    for (uint64_t at = 0; at < piece.bytes; at += kReadAtOnce) {
      buffer.resize(std::min(kReadAtOnce, piece.bytes - at));
      files.read_at(tensor, offset + at, buffer.data(), buffer.size());
      found.add(buffer);
    }
  }
  return found.value() != digest;
}

std::vector<std::string> ReadLog::changed(const io::TensorStore& files, size_t most) const {
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
  for (const auto& [position, tensor] : order) {
    if (out.size() >= most) break;
    const auto& pieces = pieces_.at(*tensor);
    const auto changed = [&](const auto& entry) { return differs(files, *tensor, entry.first, entry.second); };
    if (std::any_of(pieces.begin(), pieces.end(), changed)) out.push_back(*tensor);
  }
  return out;
}

}  // namespace swage::checkpoint
