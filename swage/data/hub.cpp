#include "swage/data/hub.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>
#include <vector>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/base/json.h"
#include "swage/base/utf8.h"
#include "swage/data/hub/headers.h"
#include "swage/data/hub/remote.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr char kIndex[] = "model.safetensors.index.json", kSingle[] = "model.safetensors";

bool present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Shard names of an index file, each a plain name in the same folder.
std::set<std::string> shards_of(const fs::path& index) {
  std::set<std::string> shards;
  const Json json = read_json_file(index);
  const Json& weight_map = json.at("weight_map");
  SWAGE_CHECK(weight_map.is_object(), CorruptData, index.string(), ": weight_map is not an object");
  for (const auto& [tensor, shard] : weight_map.as_object()) {
    const bool plain =
        shard.is_string() && shard.as_string().find('/') == std::string::npos && is_safe_path(shard.as_string());
    SWAGE_CHECK(plain, CorruptData, index.string(), ": the shard of \"", tensor, "\" is not a file name");
    shards.insert(shard.as_string());
  }
  return shards;
}

// What a snapshot folder lacks to be a model, empty if nothing.
std::string missing_weights(const fs::path& snapshot) {
  if (!present(snapshot / "config.json")) return "config.json";
  if (!present(snapshot / kIndex)) return present(snapshot / kSingle) ? "" : kSingle;
  for (const std::string& shard : shards_of(snapshot / kIndex)) {
    if (!present(snapshot / shard)) return shard;
  }
  return "";
}

// The same of a snapshot that another program may have left, with nothing but what it needed itself.
std::string missing_from(const fs::path& snapshot) {
  const std::string missing = missing_weights(snapshot);
  if (!missing.empty()) return missing;
  for (const char* tokenizer : {"tokenizer.json", "tokenizer.model", "vocab.json"}) {
    if (present(snapshot / tokenizer)) return "";
  }
  return "tokenizer.json";
}

std::string lower(std::string text) {
  for (char& c : text) c = char(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// What a model's folder holds beside its weights.
bool is_wanted(const std::string& name) {
  const std::string small = lower(name);
  if (small.starts_with("additional_chat_templates/")) return small.ends_with(".jinja");
  if (small.find('/') != std::string::npos) return false;
  for (const char* start : {"license", "licence", "notice", "copying", "use_policy", "readme."}) {
    if (small.starts_with(start)) return true;
  }
  return small.ends_with(".json") || small.ends_with(".jinja") || small.ends_with(".model") || small == "merges.txt" ||
         small == "vocab.txt";
}

const RemoteFile* find(const RepoInfo& info, const std::string& name) {
  const auto found =
      std::find_if(info.files.begin(), info.files.end(), [&](const RemoteFile& file) { return file.name == name; });
  return found == info.files.end() ? nullptr : &*found;
}

void check_is_model(const RepoInfo& info, const std::string& what) {
  if (find(info, kSingle) == nullptr && find(info, kIndex) == nullptr) {
    std::string weights;
    for (const RemoteFile& file : info.files) {
      for (const char* end : {".safetensors", ".bin", ".gguf", ".pt", ".pth", ".onnx"}) {
        if (file.name.ends_with(end) && weights.empty()) weights = file.name;
      }
    }
    throw Error(ErrorKind::Unsupported, cat(what,
                                            ": the repository has no .safetensors weights that swage reads "
                                            "(model.safetensors, or shards with an index)",
                                            weights.empty() ? "" : cat("; it has ", weights)));
  }
  SWAGE_CHECK(find(info, "config.json") != nullptr, Unsupported, what, ": the repository has no config.json");
}

// Brings in everything but the weights, and says which files hold these.
std::vector<RemoteFile> fetch_beside_weights(RemoteRepo& remote, const RepoInfo& info, bool headers_only) {
  std::vector<RemoteFile> small, weights;
  for (const RemoteFile& file : info.files) {
    if (headers_only ? file.name.find('/') == std::string::npos && file.name.ends_with(".json") &&
                           !file.name.starts_with("tokenizer") && file.name != "vocab.json"
                     : is_wanted(file.name))
      small.push_back(file);
  }
  const fs::path snapshot = remote.fetch_all(info.commit, small);
  if (const RemoteFile* single = find(info, kSingle)) weights.push_back(*single);
  if (find(info, kIndex) == nullptr) return weights;
  for (const std::string& shard : shards_of(snapshot / kIndex)) {
    const RemoteFile* file = find(info, shard);
    SWAGE_CHECK(file != nullptr, CorruptData, remote.title(), "/", kIndex, " names ", shard,
                ", which the repository does not have");
    if (shard != kSingle) weights.push_back(*file);
  }
  return weights;
}

std::string trimmed(std::string text) {
  const auto space = [](unsigned char c) { return std::isspace(c); };
  text.erase(std::find_if_not(text.rbegin(), text.rend(), space).base(), text.end());
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), space));
  return text;
}

// Empty if there is no such file, as with most people, or if it cannot be read: who needs a token is told so then.
std::string token_of(const fs::path& file) {
  constexpr uint64_t kMostBytes = 64 << 10;
  try {
    const std::string text = read_regular_file(file, kMostBytes);
    return trimmed(text.substr(0, text.find('\n')));
  } catch (const Error&) {
    return {};
  }
}

// A name that is no path of this machine: which repository it means, and what of it is in the cache.
struct Lookup {
  HubRepo repo;
  fs::path cached;      // empty: nothing
  std::string missing;  // of the cached snapshot
  std::string tried;    // begins an error
};

Lookup look_up(const std::string& name, const HubOptions& options) {
  const std::optional<HubRepo> repo = parse_hub_id(name);
  SWAGE_CHECK(repo, Io, name, ": no such folder, and not a hub id (\"org/name\"",
              name.find("://") == std::string::npos ? "" : ": of an address its two last words", ")");
  SWAGE_CHECK(!options.cache_dir.empty(), InvalidArgument, name,
              ": no such folder, and no hub cache to look it up in (set HF_HOME)");
  Lookup out{*repo, {}, {}, {}};
  const HubCache cache(options.cache_dir, *repo);
  const std::string commit = cache.commit();
  if (!commit.empty() && cache.holds(commit, "config.json")) out.cached = cache.snapshot(commit);
  if (!out.cached.empty()) out.missing = options.offline ? missing_weights(out.cached) : missing_from(out.cached);
  out.tried = cat(name, ": no such folder; ", out.cached.empty() ? "not" : cat("incomplete (no ", out.missing, ")"),
                  " in the hub cache ", options.cache_dir.string());
  return out;
}

// A folder, or a file that stands for a model; nothing for other names. Error(InvalidArgument) for other files.
std::optional<fs::path> local_model(const std::string& name) {
  SWAGE_CHECK(!name.empty(), InvalidArgument, "the model's name is empty");
  const fs::path path = name;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return path;
  if (!present(path)) return std::nullopt;
  SWAGE_CHECK(path.extension() == ".gguf", InvalidArgument, name, ": expected a model folder or a .gguf file");
  return path;
}

using Variable = std::function<std::optional<std::string>(const std::string&)>;

// Settings of huggingface_hub: environment variables, some of them by an older name too.
class Settings {
 public:
  explicit Settings(const Variable& variable) : variable_(variable) {}

  // The first of these variables that says something.
  std::string text(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      if (std::string value = variable_(name).value_or(""); !value.empty()) return value;
    }
    return {};
  }
  fs::path path(std::initializer_list<const char*> names) const {
    const std::string value = text(names), user = text({"HOME"});
    return fs::path(value.starts_with("~/") && !user.empty() ? user + value.substr(1) : value);
  }
  // The folder of everything that is of the hub; empty if nothing says where.
  fs::path home() const {
    if (const fs::path named = path({"HF_HOME"}); !named.empty()) return named;
    fs::path caches = path({"XDG_CACHE_HOME"});
    const fs::path user = text({"HOME"});
    if (caches.empty() && !user.empty()) caches = user / ".cache";
    return caches.empty() ? caches : caches / "huggingface";
  }

 private:
  const Variable& variable_;
};

bool is_true(const std::string& text) {
  const std::string word = lower(text);
  return word == "1" || word == "true" || word == "on" || word == "yes";
}

}  // namespace

HubOptions hub_options(const Variable& variable) {
  const Settings settings(variable);
  const fs::path home = settings.home();
  const auto in_home = [&](fs::path path, const char* name) {
    return path.empty() && !home.empty() ? home / name : path;
  };
  HubOptions options;
  options.cache_dir = in_home(settings.path({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}), "hub");
  if (const std::string endpoint = trimmed(settings.text({"HF_ENDPOINT"})); !endpoint.empty())
    options.endpoint = endpoint;
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  options.token = trimmed(settings.text({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}));
  const fs::path token_file = in_home(settings.path({"HF_TOKEN_PATH"}), "token");
  if (options.token.empty() && !token_file.empty()) options.token = token_of(token_file);
  options.offline = is_true(settings.text({"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}));
  const std::string timeout = settings.text({"HF_HUB_DOWNLOAD_TIMEOUT"});
  if (const int64_t seconds = std::atoll(timeout.c_str()); seconds > 0)
    options.timeout_seconds = std::min<int64_t>(seconds, 3600);
  return options;
}

fs::path resolve_model(const std::string& folder_or_id, const HubOptions& options, const Context& context) {
  if (const auto local = local_model(folder_or_id)) return *local;
  const Lookup lookup = look_up(folder_or_id, options);
  if (!lookup.cached.empty() && lookup.missing.empty()) return lookup.cached;
  SWAGE_CHECK(!options.offline, Io, lookup.tried, "; not downloaded, because HF_HUB_OFFLINE is set");
  try {
    RemoteRepo remote(lookup.repo, options, context);
    const RepoInfo info = remote.info();
    check_is_model(info, cat(remote.title(), " from ", remote.http().endpoint()));
    return remote.fetch_all(info.commit, fetch_beside_weights(remote, info, /*headers_only=*/false));
  } catch (Error& error) {
    if (error.kind() != ErrorKind::Cancelled) error.add_context(cat(lookup.tried, "; download failed"));
    throw;
  }
}

ModelHeaders resolve_headers(const std::string& folder_or_id, const HubOptions& options, const Context& context) {
  if (const auto local = local_model(folder_or_id)) return {*local, nullptr};
  const Lookup lookup = look_up(folder_or_id, options);
  if (!lookup.cached.empty() && missing_weights(lookup.cached).empty()) return {lookup.cached, nullptr};
  SWAGE_CHECK(!options.offline, Io, lookup.tried, "; not asked for its headers, because HF_HUB_OFFLINE is set");
  try {
    RemoteRepo remote(lookup.repo, options, context);
    const RepoInfo info = remote.info();
    check_is_model(info, cat(remote.title(), " from ", remote.http().endpoint()));
    const std::vector<RemoteFile> weights = fetch_beside_weights(remote, info, /*headers_only=*/true);
    auto folder = std::make_shared<HeaderFolder>(remote, info.commit, weights, context);
    return {folder->path(), folder};
  } catch (Error& error) {
    if (error.kind() != ErrorKind::Cancelled) error.add_context(cat(lookup.tried, "; reading its headers failed"));
    throw;
  }
}

}  // namespace swage::data
