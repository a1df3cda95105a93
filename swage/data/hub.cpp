#include "swage/data/hub.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>
#include <vector>

#include "swage/base/json.h"
#include "swage/base/utf8.h"
#include "swage/data/bridge.h"
#include "swage/io/file_descriptor.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr char kIndex[] = "model.safetensors.index.json";

bool present(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_name(std::string_view name) {
  const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; };
  return !name.empty() && name.size() <= 96 && std::isalnum(static_cast<unsigned char>(name[0])) && std::all_of(name.begin(), name.end(), allowed) &&
         name.find("..") == std::string_view::npos;
}

struct HubId {
  std::string id, revision;
};

// "org/name", "name" or either with "@revision"; nothing for anything else.
std::optional<HubId> parse_hub_id(const std::string& text) {
  const size_t at = text.find('@'), slash = text.find('/');
  const std::string id = text.substr(0, at), revision = at == std::string::npos ? "main" : text.substr(at + 1);
  const bool two_parts = slash < id.size();
  const bool valid = two_parts ? is_name(id.substr(0, slash)) && is_name(id.substr(slash + 1)) : is_name(id);
  if (!valid || !is_name(revision)) return std::nullopt;
  return HubId{id, revision};
}

// Shard names of an index file, each a plain name in the same folder.
std::set<std::string> shards_of(const fs::path& index) {
  std::set<std::string> shards;
  const Json json = parse_json(io::read_file(index), index.string());
  const Json& weight_map = json.at("weight_map");
  SWAGE_CHECK(weight_map.is_object(), CorruptData, index.string(), ": weight_map is not an object");
  for (const auto& [tensor, shard] : weight_map.as_object()) {
    SWAGE_CHECK(shard.is_string() && shard.as_string().find('/') == std::string::npos, CorruptData, index.string(), ": the shard of \"", tensor,
                "\" is not a file name");
    shards.insert(shard.as_string());
  }
  return shards;
}

// What a snapshot folder lacks to be a model, empty if nothing.
std::string missing_from(const fs::path& snapshot) {
  if (!present(snapshot / "config.json")) return "config.json";
  if (!present(snapshot / kIndex)) return present(snapshot / "model.safetensors") ? "" : "model.safetensors";
  for (const std::string& shard : shards_of(snapshot / kIndex)) {
    if (!present(snapshot / shard)) return shard;
  }
  return "";
}

// Of a repository's files those that make the model, small ones first: JSON, tokenizer and templates, then weights.
std::vector<std::string> wanted_files(const rust::Vec<rust::String>& listed) {
  std::vector<std::string> small, weights;
  bool has_model_weights = false;
  for (const rust::String& entry : listed) {
    const std::string name(entry);
    if (name.find('/') != std::string::npos || name.starts_with('.')) continue;
    if (name.ends_with(".safetensors")) {
      weights.push_back(name);
      has_model_weights = has_model_weights || name.starts_with("model");
    } else if (name.ends_with(".json") || name.ends_with(".jinja") || name == "tokenizer.model" || name == "merges.txt" || name == "vocab.txt") {
      small.push_back(name);
    }
  }
  if (has_model_weights) std::erase_if(weights, [](const std::string& name) { return !name.starts_with("model"); });
  if (weights.empty()) return {};
  std::sort(small.begin(), small.end());
  std::sort(weights.begin(), weights.end());
  small.insert(small.end(), weights.begin(), weights.end());
  return small;
}

fs::path download(const bridge::HubSource& source, const HubOptions& options) {
  const std::string what = cat(std::string(source.id), " from ", options.endpoint);
  const auto listed = call_bridge(ErrorKind::Io, what, [&] { return bridge::hub_list_files(source); });
  const std::vector<std::string> files = wanted_files(listed);
  SWAGE_CHECK(!files.empty(), Unsupported, what, ": the repository has no .safetensors weights");
  SWAGE_CHECK(std::find(files.begin(), files.end(), "config.json") != files.end(), Unsupported, what, ": the repository has no config.json");
  fs::path snapshot;
  for (const std::string& file : files) {
    options.log(cat("fetching ", std::string(source.id), "/", file));
    const rust::String path = call_bridge(ErrorKind::Io, what, [&] { return bridge::hub_fetch_file(source, as_str(file)); });
    if (file == "config.json") snapshot = fs::path(std::string(path)).parent_path();
  }
  return snapshot;
}

bridge::HubSource source_of(const HubId& hub_id, const HubOptions& options) {
  const std::string cache = fs::absolute(options.cache_dir).string();
  for (const std::string* text : {&cache, &options.endpoint, &options.token}) {
    SWAGE_CHECK(valid_utf8_prefix(*text) == text->size(), InvalidArgument, "a hub option is not UTF-8");
  }
  bridge::HubSource source;
  source.cache_dir = cache;
  source.endpoint = options.endpoint;
  source.token = options.token;
  source.id = hub_id.id;
  source.revision = hub_id.revision;
  return source;
}

std::string trimmed(std::string text) {
  const auto space = [](unsigned char c) { return std::isspace(c); };
  text.erase(std::find_if_not(text.rbegin(), text.rend(), space).base(), text.end());
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), space));
  return text;
}

}  // namespace

HubOptions hub_options(const std::function<std::optional<std::string>(const std::string&)>& variable) {
  const auto get = [&](const char* name) { return variable(name).value_or(""); };
  HubOptions options;
  fs::path home = get("HF_HOME");
  if (home.empty()) {
    fs::path caches = get("XDG_CACHE_HOME");
    if (caches.empty() && !get("HOME").empty()) caches = fs::path(get("HOME")) / ".cache";
    if (!caches.empty()) home = caches / "huggingface";
  }
  options.cache_dir = get("HF_HUB_CACHE");
  if (options.cache_dir.empty() && !home.empty()) options.cache_dir = home / "hub";
  if (!get("HF_ENDPOINT").empty()) options.endpoint = get("HF_ENDPOINT");
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  options.token = trimmed(get("HF_TOKEN"));
  if (options.token.empty() && !home.empty() && present(home / "token")) {
    options.token = trimmed(io::read_file(home / "token"));
  }
  const std::string offline = get("HF_HUB_OFFLINE");
  options.offline = offline == "1" || offline == "true" || offline == "TRUE" || offline == "True" || offline == "ON" || offline == "YES";
  return options;
}

fs::path resolve_model(const std::string& folder_or_id, const HubOptions& options) {
  SWAGE_CHECK(!folder_or_id.empty(), InvalidArgument, "the model's name is empty");
  const fs::path path = folder_or_id;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return path;
  if (present(path)) {
    SWAGE_CHECK(path.extension() == ".gguf", InvalidArgument, folder_or_id, ": expected a model folder or a .gguf file");
    return path;
  }
  const std::optional<HubId> hub_id = parse_hub_id(folder_or_id);
  SWAGE_CHECK(hub_id, InvalidArgument, folder_or_id, ": no such folder, and not a hub id (\"org/name\")");
  SWAGE_CHECK(!options.cache_dir.empty(), InvalidArgument, folder_or_id, ": no such folder, and no hub cache to look it up in (set HF_HOME)");
  const bridge::HubSource source = source_of(*hub_id, options);
  const rust::String found = call_bridge(ErrorKind::Io, options.cache_dir.string(), [&] { return bridge::hub_cached_snapshot(source); });
  const fs::path cached = std::string(found);
  const std::string missing = cached.empty() ? "" : missing_from(cached);
  if (!cached.empty() && missing.empty()) return cached;

  const std::string tried = cat(folder_or_id, ": no such folder; ", cached.empty() ? "not" : cat("incomplete (no ", missing, ")"),
                                " in the hub cache ", options.cache_dir.string());
  SWAGE_CHECK(!options.offline, Io, tried, "; not downloaded, because HF_HUB_OFFLINE is set");
  try {
    return download(source, options);
  } catch (Error& error) {
    error.add_context(cat(tried, "; download failed"));
    throw;
  }
}

}  // namespace swage::data
