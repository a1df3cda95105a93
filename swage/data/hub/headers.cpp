#include "swage/data/hub/headers.h"

#include <fcntl.h>
#include <stdlib.h>

#include <algorithm>
#include <cstring>

#include "swage/base/error.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kFirstRead = 256 * 1024;       // holds most headers
constexpr uint64_t kLongestHeader = 100'000'000;  // of the safetensors format
constexpr uint64_t kGap = 1 << 20;                // bytes read for nothing rather than asked around
constexpr uint64_t kShapeBytes = 16;              // two I64 numbers

struct Range {
  uint64_t begin = 0, end = 0;
};

fs::path make_temporary_folder() {
  std::string name = (fs::temp_directory_path() / "swage-headers-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) io::throw_io_error(name, "make the folder");
  return name;
}

// Where the stored shapes of a file lie, near ones together. Nothing for a header that cannot be read: who opens the
// file says why.
std::vector<Range> stored_shapes(std::string_view header, uint64_t data_begin, uint64_t file_size) {
  std::vector<Range> ranges;
  try {
    const Json json = parse_json(header, "header");
    for (const auto& [name, tensor] : json.as_object()) {
      if (!name.ends_with(".weight_shape") && !name.ends_with(".shape")) continue;
      const Json& offsets = tensor.at("data_offsets");
      const uint64_t begin = data_begin + uint64_t(offsets.as_array().at(0).as_int()),
                     end = data_begin + uint64_t(offsets.as_array().at(1).as_int());
      if (begin < end && end - begin <= kShapeBytes && end <= file_size) ranges.push_back({begin, end});
    }
  } catch (const std::exception&) {
    return {};
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::vector<Range> joined;
  for (const Range& range : ranges) {
    if (!joined.empty() && range.begin <= joined.back().end + kGap) {
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

void bring_file(RemoteRepo& remote, const std::string& commit, const std::string& name, const fs::path& to,
                TransferProgress& progress) {
  const FileMeta meta = remote.meta(commit, name);
  const io::FileDescriptor out(to, O_RDWR | O_CREAT | O_EXCL);
  const auto read = [&](uint64_t offset, uint64_t count) {
    const std::string bytes = remote.range(meta, name, offset, count);
    out.write_at(bytes, offset);
    progress.add(int64_t(count));
    return bytes;
  };
  out.truncate(meta.size);
  if (meta.size < 8) return;
  std::string head = read(0, std::min(kFirstRead, meta.size));
  uint64_t length = 0;
  std::memcpy(&length, head.data(), sizeof length);  // little-endian, as the format and this program's machines are
  if (length > std::min(kLongestHeader, meta.size - 8)) return;
  if (8 + length > head.size()) head += read(head.size(), 8 + length - head.size());
  for (const Range& range : stored_shapes(std::string_view(head).substr(8, length), 8 + length, meta.size)) {
    if (range.end > head.size()) read(range.begin, range.end - range.begin);
  }
}

}  // namespace

HeaderFolder::HeaderFolder(RemoteRepo& remote, const std::string& commit, const std::vector<RemoteFile>& weights,
                           const Context& context)
    : folder_(make_temporary_folder()) {
  try {
    bring(remote, commit, weights, context);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    throw;
  }
}

HeaderFolder::~HeaderFolder() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void HeaderFolder::bring(RemoteRepo& remote, const std::string& commit, const std::vector<RemoteFile>& weights,
                         const Context& context) {
  std::error_code error;  // copies: a link out of a model's folder is not followed by those who read it
  for (auto entry = fs::directory_iterator(remote.cache().snapshot(commit), error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() == ".json") fs::copy_file(entry->path(), folder_ / entry->path().filename(), error);
  }
  if (error)
    throw Error(ErrorKind::Io, cat(folder_.string(), ": cannot copy the model's configuration: ", error.message()));
  TransferProgress progress("reading headers of", 0, context);
  for (const RemoteFile& file : weights) {
    progress.begin(cat(remote.repo().id, "/", file.name));
    bring_file(remote, commit, file.name, folder_ / file.name, progress);
  }
  context.log(Severity::Info, cat("read the headers of ", remote.title(), ": ", transfer_size(progress.done()), " of ",
                                  weights.size(), weights.size() == 1 ? " weight file" : " weight files"));
}

}  // namespace swage::data
