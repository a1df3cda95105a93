#include "swage/data/hub/blob.h"

#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "swage/base/error.h"
#include "swage/data/bridge.h"
#include "swage/io/file_descriptor.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr size_t kPiece = 256 * 1024;

bool is_hex(const std::string& text, size_t digits) {
  return text.size() == digits &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c); });
}

}  // namespace

// The file so far, and the digest of it: the etag of a large file is its SHA-256, that of a small one the SHA-1 that
// git gives it.
struct BlobDownload::State {
  State(const fs::path& path, const FileMeta& meta)
      : out(path, O_RDWR | O_CREAT),
        meta(meta),
        digest(bridge::sha256()) {
    begin_digest();
  }

  void begin_digest() {
    digest = is_hex(meta.etag, 40) ? bridge::sha1() : bridge::sha256();
    if (!is_hex(meta.etag, 40)) return;
    const std::string header = cat("blob ", meta.size, '\0');
    digest->update({reinterpret_cast<const uint8_t*>(header.data()), header.size()});
  }
  void throw_away() {
    out.truncate(0);
    have = 0;
    begin_digest();
  }
  void append(std::string_view bytes) {
    out.write_at(bytes, have);
    digest->update({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
    have += bytes.size();
  }
  // What an earlier try left.
  void take_over(uint64_t size) {
    std::vector<char> piece(kPiece);
    while (have < size) {
      const uint64_t count = std::min<uint64_t>(kPiece, size - have);
      out.read_at(piece.data(), count, have);
      digest->update({reinterpret_cast<const uint8_t*>(piece.data()), size_t(count)});
      have += count;
    }
  }

  io::FileDescriptor out;
  const FileMeta& meta;
  rust::Box<bridge::Digest> digest;
  uint64_t have = 0;
};

BlobDownload::BlobDownload(HubHttp& http, Source source, fs::path blob, const Context& context)
    : http_(http),
      source_(std::move(source)),
      blob_(std::move(blob)),
      incomplete_(blob_.string() + ".incomplete"),
      context_(context) {}

// True if the body is what was asked for and was taken, to its end or to a break; false: the file had to be begun anew.
bool BlobDownload::take(HttpReply& reply, State& state, TransferProgress& progress) {
  const bool goes_on =
      reply.status() == 206 && reply.header("content-range").starts_with(cat("bytes ", state.have, "-"));
  if (state.have > 0 && !goes_on) {
    progress.add(-int64_t(state.have));
    state.throw_away();
    if (reply.status() != 200) return false;
  }
  std::vector<char> piece(kPiece);
  for (size_t count; (count = reply.read(piece.data(), piece.size())) > 0;) {
    context_.check_cancelled();
    SWAGE_CHECK(state.have + count <= source_.meta.size, CorruptData, source_.what, ": more bytes come than the ",
                source_.meta.size, " announced");
    state.append({piece.data(), count});
    progress.add(int64_t(count));
  }
  return true;
}

void BlobDownload::fill(State& state, TransferProgress& progress) {
  Patience patience(context_);
  while (state.have < source_.meta.size) {
    const uint64_t before = state.have;
    HttpRequest request{.url = source_.meta.url, .headers = {{"Accept-Encoding", "identity"}}};
    if (before > 0) request.headers.emplace_back("Range", cat("bytes=", before, "-"));
    std::string why = "the connection broke off";
    HttpReply reply = http_.send(request, source_.what);
    SWAGE_CHECK(reply.ok() || reply.status() == 416, Io, source_.what, ": the server of the file answers ",
                reply.status());
    try {
      take(reply, state, progress);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::Io || !std::string_view(error.what()).starts_with("the connection")) throw;
      context_.check_cancelled();
      why = error.what();
    }
    if (state.have == source_.meta.size) return;
    if (state.have > before) patience.progressed();
    SWAGE_CHECK(patience.another(cat(source_.what, ": ", why, " after ", transfer_size(state.have))), Io, source_.what,
                ": ", why, " again and again, after ", state.have, " of ", source_.meta.size,
                " bytes; the same command goes on from there");
  }
}

// What is wrong with the whole file; empty: nothing, or the hub names no digest.
std::string BlobDownload::wrong_digest(State& state) const {
  const std::string& etag = source_.meta.etag;
  if (!is_hex(etag, 64) && !is_hex(etag, 40)) return "";
  const std::string found(state.digest->hex());
  std::string wanted = etag;
  std::transform(wanted.begin(), wanted.end(), wanted.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return found == wanted
             ? ""
             : cat(etag.size() == 64 ? "its SHA-256 is " : "its git digest is ", found, ", the hub announced ", wanted);
}

void BlobDownload::run(TransferProgress& progress) {
  State state(incomplete_, source_.meta);
  const uint64_t left = fs::file_size(incomplete_);
  if (left > source_.meta.size) state.out.truncate(0);
  state.take_over(left > source_.meta.size ? 0 : left);
  progress.add(int64_t(state.have));
  if (state.have > 0)
    context_.log(Severity::Info, cat(source_.what, ": going on after ", transfer_size(state.have), " of ",
                                     transfer_size(source_.meta.size)));
  for (int attempt = 0;; ++attempt) {
    fill(state, progress);
    const std::string wrong = wrong_digest(state);
    if (wrong.empty()) break;
    progress.add(-int64_t(state.have));
    state.throw_away();
    SWAGE_CHECK(attempt == 0, CorruptData, source_.what, ": what came is not the file: ", wrong);
    context_.log(Severity::Info, cat(source_.what, ": what came is not the file (", wrong, "); fetching it again"));
  }
  state.out.sync();
  state.out.close();
  std::error_code error;
  fs::rename(incomplete_, blob_, error);
  if (error) throw Error(ErrorKind::Io, cat(blob_.string(), ": cannot be put in its place: ", error.message()));
}

}  // namespace swage::data
