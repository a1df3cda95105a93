#include "swage/data/hub/dataset_files.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/io/atomic_file.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxCardBytes = uint64_t{16} << 20;
constexpr char kConverted[] = "refs/convert/parquet", kCard[] = "README.md";

// Where the list of a commit's files is kept: huggingface_hub keeps none, and its snapshots hold only what was fetched.
fs::path listing_path(const HubCache& cache, const std::string& commit) {
  return cache.snapshot(commit).parent_path().parent_path() / "listings" / (commit + ".json");
}

Json to_json(const std::vector<RemoteFile>& files) {
  Json out = Json::array();
  for (const RemoteFile& file : files) {
    Json one = Json::object();
    one.set("name", file.name);
    one.set("size", file.size);
    out.push_back(std::move(one));
  }
  return out;
}

std::vector<RemoteFile> from_json(const Json& json) {
  std::vector<RemoteFile> files;
  for (const Json& one : json.as_array()) {
    RemoteFile file{one.get_string("name", ""), uint64_t(std::max<int64_t>(0, one.get_int("size", 0)))};
    if (is_safe_path(file.name)) files.push_back(std::move(file));
  }
  return files;
}

bool knows(const std::vector<RemoteFile>& files, const std::string& name) {
  return std::any_of(files.begin(), files.end(), [&](const RemoteFile& file) { return file.name == name; });
}

}  // namespace

RemoteRepo& DatasetFiles::remote(const HubRepo& repo) {
  SWAGE_CHECK(!hub_.offline, Io, "data set ", repo.id, ": not all of it is in the hub cache ", hub_.cache_dir.string(),
              ", and it is not fetched, because HF_HUB_OFFLINE is set");
  if (!remote_ || remote_->repo().revision != repo.revision)
    remote_ = std::make_unique<RemoteRepo>(repo, hub_, context_);
  return *remote_;
}

DatasetFiles::Listing DatasetFiles::list_remote(const HubRepo& repo) {
  RemoteRepo& from = remote(repo);
  RepoInfo info = from.info();
  const fs::path kept = listing_path(from.cache(), info.commit);
  std::error_code error;
  fs::create_directories(kept.parent_path(), error);
  if (error)
    throw Error(ErrorKind::Io, cat(kept.parent_path().string(), ": cannot make the folder: ", error.message()));
  io::write_file_atomically(kept, to_json(info.files).dump());
  from.cache().remember(info.commit);
  return {info.commit, std::move(info.files)};
}

DatasetFiles::Listing DatasetFiles::list(const HubRepo& repo) {
  const HubCache cache(hub_.cache_dir, repo);
  const std::string commit = cache.commit();
  std::error_code ignored;
  const fs::path kept = listing_path(cache, commit);
  if (!commit.empty() && fs::exists(kept, ignored)) return {commit, from_json(read_json_file(kept))};
  return list_remote(repo);
}

fs::path DatasetFiles::fetch_file(const HubRepo& repo, const std::string& commit, const RemoteFile& file) {
  const HubCache cache(hub_.cache_dir, repo);
  if (cache.holds(commit, file.name)) return cache.snapshot(commit) / file.name;
  return remote(repo).fetch_all(commit, {file}) / file.name;
}

std::string DatasetFiles::card(const HubRepo& repo, const Listing& listing) {
  for (const RemoteFile& file : listing.files) {
    if (file.name == kCard) return read_regular_file(fetch_file(repo, listing.commit, file), kMaxCardBytes);
  }
  return "";
}

DatasetFiles::DatasetFiles(const DataSpec& spec, const HubOptions& hub, const Context& context)
    : hub_(hub),
      context_(context),
      repo_{RepoType::Dataset, spec.id, spec.revision} {
  SWAGE_CHECK(!hub.cache_dir.empty(), InvalidArgument, spec.text, ": no hub cache to look it up in (set HF_HOME)");
  try {
    Listing listing = list(repo_);
    std::string default_config;
    std::vector<SplitFiles> splits = splits_of(listing.files, card(repo_, listing), default_config);
    if (splits.empty()) {
      repo_.revision = kConverted;
      listing = list(repo_);
      splits = splits_of(listing.files, "", default_config);
    }
    SWAGE_CHECK(!splits.empty(), Unsupported,
                "the repository has neither Parquet nor JSON files, and the hub has not converted it");
    if (!spec.first_file.empty() && knows(listing.files, spec.first_file)) {
      chosen_ = {spec.default_config, spec.split, {spec.first_file}};
    } else {
      chosen_ = choose_split(splits, spec, default_config);
    }
    for (const std::string& name : chosen_.files) {
      files_.push_back(*std::find_if(listing.files.begin(), listing.files.end(),
                                     [&](const RemoteFile& file) { return file.name == name; }));
    }
    commit_ = listing.commit;
  } catch (Error& error) {
    if (error.kind() == ErrorKind::Io || error.kind() == ErrorKind::Unsupported) error.add_context(spec.text);
    throw;
  }
}

DatasetFiles::~DatasetFiles() = default;

fs::path DatasetFiles::fetch(size_t i) { return fetch_file(repo_, commit_, files_[i]); }

}  // namespace swage::data
