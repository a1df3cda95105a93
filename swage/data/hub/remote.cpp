#include "swage/data/hub/remote.h"

#include <algorithm>
#include <thread>

#include "swage/base/error.h"
#include "swage/base/utf8.h"
#include "swage/data/hub/blob.h"

namespace swage::data {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

constexpr auto kShownEvery = std::chrono::milliseconds(200);

std::string title_of(const HubRepo& repo) {
  return cat(repo.type == RepoType::Dataset ? "data set " : "", repo.id,
             repo.revision == "main" ? "" : "@" + repo.revision);
}

std::string without_quotes(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  std::erase(etag, '"');
  return etag;
}

uint64_t size_of(const std::string& text, const std::string& what) {
  const bool number = !text.empty() && text.size() < 17 &&
                      std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
  SWAGE_CHECK(number, CorruptData, what, ": the hub does not tell the file's size");
  return std::stoull(text);
}

}  // namespace

std::string transfer_size(uint64_t bytes) {
  static constexpr std::pair<double, const char*> kUnits[] = {{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}};
  char text[32];
  for (const auto& [size, unit] : kUnits) {
    if (double(bytes) < size) continue;
    std::snprintf(text, sizeof text, "%.3g %s", double(bytes) / size, unit);
    return text;
  }
  return cat(bytes, " bytes");
}

TransferProgress::TransferProgress(std::string stage, uint64_t total, const Context& context)
    : stage_(std::move(stage)),
      total_(total),
      context_(context) {}

double TransferProgress::seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

void TransferProgress::add(int64_t bytes) {
  done_ = uint64_t(std::max<int64_t>(0, int64_t(done_) + bytes));
  if (Clock::now() - shown_ < kShownEvery) return;
  shown_ = Clock::now();
  ProgressEvent event;
  event.elapsed_seconds = seconds();
  const double a_second = double(done_) / std::max(event.elapsed_seconds, 0.2);
  event.stage =
      cat(stage_, " ", what_, "  ", transfer_size(done_), total_ > 0 ? cat(" of ", transfer_size(total_)) : "", "  ",
          transfer_size(uint64_t(a_second)), "/s");
  if (total_ > done_ && done_ > 0) event.eta_seconds = double(total_ - done_) / a_second;
  context_.progress(event);
}

RemoteRepo::RemoteRepo(const HubRepo& repo, const HubOptions& options, const Context& context)
    : repo_(repo),
      title_(title_of(repo)),
      context_(context),
      http_(options, context),
      cache_(options.cache_dir, repo) {
  const bool dataset = repo.type == RepoType::Dataset;
  api_ = cat(http_.endpoint(), "/api/", dataset ? "datasets/" : "models/", repo.id);
  pages_ = cat(http_.endpoint(), dataset ? "/datasets/" : "/", repo.id);
}

void RemoteRepo::refuse(HttpReply& reply, const std::string& what) const {
  const std::string code = reply.header("x-error-code");
  const std::string message = printable(reply.header("x-error-message"));
  const int status = reply.status();
  std::string why;
  if (code == "GatedRepo" || (status == 403 && message.find("gated") != std::string::npos)) {
    why = cat("is gated: ask for access on ", pages_,
              http_.has_token() ? " with the account that the token belongs to"
                                : ", then set HF_TOKEN to a token of your account");
  } else if (code == "RevisionNotFound") {
    why = cat("the hub knows no revision \"", repo_.revision, "\" of it");
  } else if (code == "EntryNotFound" && status == 404) {
    why = "the repository has no such file";
  } else if (status == 401 || status == 403) {
    why = http_.has_token()
              ? "the hub does not let this token in, or there is no such repository: check the name and HF_TOKEN"
              : "the hub knows no such repository, or it is private: check the name; for a private one set HF_TOKEN";
  } else if (status == 404) {
    why = "the hub knows no such repository";
  } else if (status == 429) {
    why = "the hub takes no more requests for now; try again later";
  } else {
    why = cat("the hub cannot answer", message.empty() ? "" : ": " + message);
  }
  throw Error(ErrorKind::Io, cat(what, ": ", why, " (", status, ")"));
}

void RemoteRepo::check(HttpReply& reply, const std::string& what) const {
  if (!reply.ok()) refuse(reply, what);
}

Json RemoteRepo::api(const std::string& path) {
  HttpReply reply = http_.send({.url = api_ + path}, title_);
  check(reply, title_);
  const std::string text = reply.text();
  return parse_json(text, cat(title_, ": the hub's answer"));
}

RepoInfo RemoteRepo::info() {
  const std::string path = cat("/revision/", url_quoted(repo_.revision, true));
  HttpReply detailed = http_.send({.url = cat(api_, path, "?blobs=true")}, title_);
  const bool plain =
      detailed.status() == 404 && detailed.header("x-error-code").empty();  // a mirror that does not know the question
  if (!plain) check(detailed, title_);
  const Json json = plain ? api(path) : parse_json(detailed.text(), cat(title_, ": the hub's answer"));
  RepoInfo info;
  info.commit = json.get_string("sha", "");
  SWAGE_CHECK(is_safe_name(info.commit), CorruptData, title_, ": the hub names no commit");
  const Json* siblings = json.find("siblings");
  SWAGE_CHECK(siblings != nullptr && siblings->is_array(), CorruptData, title_, ": the hub lists no files");
  for (const Json& sibling : siblings->as_array()) {
    const std::string name = sibling.get_string("rfilename", "");
    if (!is_safe_path(name)) continue;  // hidden ones (.gitattributes), and whatever would lie outside
    const Json* size = sibling.find("size");
    info.files.push_back(
        {name, size != nullptr && size->is_int() && size->as_int() > 0 ? uint64_t(size->as_int()) : 0});
  }
  std::sort(info.files.begin(), info.files.end(),
            [](const RemoteFile& a, const RemoteFile& b) { return a.name < b.name; });
  return info;
}

std::string RemoteRepo::resolve_url(const std::string& commit, const std::string& file) const {
  return cat(pages_, "/resolve/", commit, "/", url_quoted(file));
}

FileMeta RemoteRepo::meta(const std::string& commit, const std::string& file) {
  const std::string what = cat(title_, "/", file);
  HttpRequest request{.method = "HEAD", .url = resolve_url(commit, file), .headers = {{"Accept-Encoding", "identity"}}};
  HttpReply reply = http_.send(request, what, HubHttp::Redirects::SameHost);
  if (reply.status() == 405 || reply.status() == 501) {  // a mirror that knows no HEAD: one byte says the same
    request.method = "GET";
    request.headers.emplace_back("Range", "bytes=0-0");
    reply = http_.send(request, what, HubHttp::Redirects::SameHost);
  }
  if (reply.status() < 300 || reply.status() >= 400) check(reply, what);
  FileMeta meta;
  const auto first = [&](const char* name, const char* other) {
    return reply.header(name).empty() ? reply.header(other) : reply.header(name);
  };
  meta.etag = without_quotes(first("x-linked-etag", "etag"));
  const std::string range = reply.header("content-range");
  meta.size =
      size_of(reply.status() == 206 && range.find('/') != std::string::npos ? range.substr(range.find('/') + 1)
                                                                            : first("x-linked-size", "content-length"),
              what);
  meta.commit = reply.header("x-repo-commit");
  meta.url = request.url;
  SWAGE_CHECK(is_safe_name(meta.etag), CorruptData, what, ": the hub gives the file no etag that can name it");
  SWAGE_CHECK(meta.commit.empty() || meta.commit == commit, Io, what, ": the hub answers with another commit, ",
              printable(meta.commit), " for ", commit);
  return meta;
}

fs::path RemoteRepo::fetch(const std::string& commit, const RemoteFile& file, TransferProgress& progress) {
  const fs::path at = cache_.snapshot(commit) / file.name;
  progress.begin(cat(repo_.id, "/", file.name));
  if (cache_.holds(commit, file.name)) {
    progress.add(int64_t(file.size));
    return at;
  }
  const std::string what = cat(title_, "/", file.name);
  const FileMeta found = meta(commit, file.name);
  const HubCache::Lock lock(cache_, found.etag, [&] {
    context_.check_cancelled();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  });
  std::error_code ignored;
  if (fs::exists(cache_.blob(found.etag), ignored)) {
    progress.add(int64_t(found.size));
  } else {
    BlobDownload(http_, {what, found}, cache_.blob(found.etag), context_).run(progress);
  }
  cache_.link(commit, file.name, found.etag);
  return at;
}

fs::path RemoteRepo::fetch_all(const std::string& commit, const std::vector<RemoteFile>& files) {
  uint64_t total = 0;
  size_t missing = 0;
  for (const RemoteFile& file : files) {
    total += file.size;
    if (!cache_.holds(commit, file.name)) ++missing;
  }
  TransferProgress progress("downloading", total, context_);
  if (missing > 0)
    context_.log(Severity::Info, cat("fetching ", title_, ": ", missing, missing == 1 ? " file" : " files",
                                     total > 0 ? cat(" of ", transfer_size(total)) : ""));
  for (const RemoteFile& file : files) fetch(commit, file, progress);
  cache_.remember(commit);
  if (missing > 0)
    context_.log(Severity::Info, cat("fetched ", title_, " in ", int64_t(progress.seconds() + 0.5), " s, commit ",
                                     commit.substr(0, 12)));
  return cache_.snapshot(commit);
}

std::string RemoteRepo::range(const FileMeta& meta, const std::string& file, uint64_t offset, uint64_t count) {
  const std::string what = cat(title_, "/", file);
  HttpReply reply = http_.send(
      {.url = meta.url,
       .headers = {{"Range", cat("bytes=", offset, "-", offset + count - 1)}, {"Accept-Encoding", "identity"}}},
      what);
  check(reply, what);
  std::string bytes;
  if (reply.status() == 206) {
    bytes = reply.text(count);
  } else {  // the whole file comes: take what is wanted of it, no more than a header may be away
    SWAGE_CHECK(offset + count <= (uint64_t{128} << 20), Unsupported, what,
                ": the server gives whole files only, so the headers alone cannot be read");
    bytes.resize(offset + count);
    size_t have = 0;
    for (size_t got; have < bytes.size() && (got = reply.read(bytes.data() + have, bytes.size() - have)) > 0;)
      have += got;
    bytes.resize(have);
    bytes.erase(0, std::min<uint64_t>(offset, have));
  }
  SWAGE_CHECK(bytes.size() == count, CorruptData, what, ": ", bytes.size(), " bytes came of ", count, " asked for");
  return bytes;
}

}  // namespace swage::data
