// A repository of the hub as its API tells of it, and its files brought into the cache.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/data/hub/cache.h"
#include "swage/data/hub/http.h"

namespace swage::data {

struct RemoteFile {
  std::string name;
  uint64_t size = 0;  // 0: not told
};

struct RepoInfo {
  std::string commit;
  std::vector<RemoteFile> files;  // those with safe names, sorted
};

// What the hub says of one file.
struct FileMeta {
  std::string commit, etag;
  uint64_t size = 0;
  std::string url;  // where its bytes are
};

// What is shown while files come: a ProgressEvent a few times a second.
class TransferProgress {
 public:
  TransferProgress(std::string stage, uint64_t total, const Context& context);
  void begin(const std::string& what) { what_ = what; }  // the file that moves now
  void add(int64_t bytes);                               // negative: was thrown away
  void set(uint64_t bytes) { add(int64_t(bytes) - int64_t(done_)); }
  uint64_t done() const { return done_; }
  double seconds() const;

 private:
  std::string stage_, what_;
  uint64_t total_, done_ = 0;
  const Context& context_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), shown_{};
};

// "1.5 GiB", "12.3 MiB", "640 KiB"
std::string transfer_size(uint64_t bytes);

class RemoteRepo {
 public:
  RemoteRepo(const HubRepo& repo, const HubOptions& options, const Context& context);

  const HubRepo& repo() const { return repo_; }
  const HubCache& cache() const { return cache_; }
  HubHttp& http() { return http_; }
  // "org/name", "data set org/name", with "@revision" unless that is main
  const std::string& title() const { return title_; }

  // What the API says under /api/models/ID + `path` (or datasets). Throws as info() does.
  Json api(const std::string& path);
  // The files of the revision. Error(Io) that says what to do: no such repository or revision, private, gated.
  RepoInfo info();
  FileMeta meta(const std::string& commit, const std::string& file);
  // The file in the snapshot of `commit`, downloaded unless it is there: gone on with where an earlier try broke off,
  // its size checked, and its digest where the hub names one. Error(CorruptData) if what comes is not what the hub
  // announced.
  std::filesystem::path fetch(const std::string& commit, const RemoteFile& file, TransferProgress& progress);
  // All of them, with a line at the beginning and one at the end; the revision is remembered. Returns the snapshot's
  // folder.
  std::filesystem::path fetch_all(const std::string& commit, const std::vector<RemoteFile>& files);
  // `count` bytes of a file from `offset` on.
  std::string range(const FileMeta& meta, const std::string& file, uint64_t offset, uint64_t count);

 private:
  [[noreturn]] void refuse(HttpReply& reply, const std::string& what) const;
  void check(HttpReply& reply, const std::string& what) const;
  std::string resolve_url(const std::string& commit, const std::string& file) const;

  HubRepo repo_;
  std::string title_, api_, pages_;  // URLs of the API and of the repository
  const Context& context_;
  HubHttp http_;
  HubCache cache_;
};

}  // namespace swage::data
