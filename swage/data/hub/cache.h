// The hub's cache on disk, as huggingface_hub lays it out, so that both share it:
//   CACHE/models--ORG--NAME/blobs/ETAG                 a file's bytes; ETAG.incomplete while they come
//                           snapshots/COMMIT/FILE      a link to ../../blobs/ETAG
//                           refs/REVISION              the commit that a branch or tag stood at
//   CACHE/.locks/models--ORG--NAME/ETAG.lock           taken with flock(2) while a blob comes
// Names come from a server: whatever could lead out of these folders is refused.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "swage/io/file_descriptor.h"

namespace swage::data {

enum class RepoType { Model, Dataset };

struct HubRepo {
  RepoType type = RepoType::Model;
  std::string id;                 // "org/name", or "name" of the oldest ones
  std::string revision = "main";  // branch, tag or commit; may hold slashes
};

// "org/name", "name" or either with "@revision"; nothing for anything else.
std::optional<HubRepo> parse_hub_id(const std::string& text, RepoType type = RepoType::Model);
// A relative path whose parts are plain names: no "..", no hidden parts, no control characters, at most 4 folders deep.
bool is_safe_path(std::string_view path);
// A commit or an etag as a server may name it: letters, digits, "-", "_", "." within.
bool is_safe_name(std::string_view name);

class HubCache {
 public:
  // `root` holds all repositories.
  HubCache(const std::filesystem::path& root, const HubRepo& repo);

  // The commit that the revision stood at when it was last asked for; the revision itself if it is a commit. Empty if
  // unknown.
  std::string commit() const;
  std::filesystem::path snapshot(const std::string& commit) const;
  std::filesystem::path blob(const std::string& etag) const;
  bool holds(const std::string& commit, const std::string& file) const;
  // Makes the file appear in the snapshot: a link to its blob, or the blob itself moved there where links do not work.
  void link(const std::string& commit, const std::string& file, const std::string& etag) const;
  void remember(const std::string& commit) const;  // what the revision stands at now

  // Held: no other process fetches this blob. Calls `wait` from time to time until it is free.
  class Lock {
   public:
    template <class Wait>
    Lock(const HubCache& cache, const std::string& etag, Wait wait) : file_(open(cache, etag)) {
      while (!try_lock()) wait();
    }

   private:
    static io::FileDescriptor open(const HubCache& cache, const std::string& etag);
    bool try_lock() const;
    io::FileDescriptor file_;  // closing it frees the lock
  };

 private:
  std::filesystem::path root_, folder_;
  std::string name_, revision_;
};

}  // namespace swage::data
