// Which files of a data set's repository hold a split, and these files, fetched one by one as they are asked for.
//
// In this order: the `configs` of the data set's card (README.md), as the hub's own library reads them; names of
// folders and files that say the split (data/train-00000-of-00001.parquet, main/test.jsonl); the branch
// refs/convert/parquet, where the hub keeps CONFIG/SPLIT/*.parquet.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "swage/data/data_source.h"
#include "swage/data/hub/remote.h"

namespace swage::data {

// The files of one split of one configuration.
struct SplitFiles {
  std::string config, split;
  std::vector<std::string> files;  // sorted
};

// What a repository's files say about splits; `card` is the text of its README.md, or empty.
std::vector<SplitFiles> splits_of(const std::vector<RemoteFile>& files, std::string_view card,
                                  std::string& default_config);
// The one that `spec` means. Error(InvalidArgument) listing configurations or splits if there is none, or several.
SplitFiles choose_split(const std::vector<SplitFiles>& splits, const DataSpec& spec, const std::string& default_config);
// "data/train-*" against a path: * and ? within a part, ** across parts, [ab] one of these.
bool matches_glob(std::string_view pattern, std::string_view path);

class DatasetFiles {
 public:
  // Looks in the cache first: what was fetched before is not asked for again. Error(Io) if it is not there and cannot
  // be fetched.
  DatasetFiles(const DataSpec& spec, const HubOptions& hub, const Context& context);
  ~DatasetFiles();

  size_t count() const { return chosen_.files.size(); }
  const std::string& name(size_t i) const { return chosen_.files[i]; }
  const std::string& commit() const { return commit_; }
  // The file in the cache; Error(Io) if it cannot be fetched.
  std::filesystem::path fetch(size_t i);

 private:
  struct Listing {
    std::string commit;
    std::vector<RemoteFile> files;
  };
  // Of the repository at a revision: as it was when it was last asked for, or as the hub tells. The branch that the hub
  // makes may not exist.
  Listing list(const HubRepo& repo);
  Listing list_remote(const HubRepo& repo);
  std::string card(const HubRepo& repo, const Listing& listing);
  RemoteRepo& remote(const HubRepo& repo);
  std::filesystem::path fetch_file(const HubRepo& repo, const std::string& commit, const RemoteFile& file);

  const HubOptions hub_;
  const Context& context_;
  HubRepo repo_;
  std::unique_ptr<RemoteRepo> remote_;  // made when first needed
  SplitFiles chosen_;
  std::vector<RemoteFile> files_;  // beside chosen_.files
  std::string commit_;
};

}  // namespace swage::data
