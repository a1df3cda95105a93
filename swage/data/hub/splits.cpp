// Configurations and splits out of the names of a repository's files, or out of its card. Declared in dataset_files.h.
#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "swage/base/error.h"
#include "swage/base/yaml.h"
#include "swage/data/hub/dataset_files.h"
#include "swage/data/row_form.h"

namespace swage::data {

namespace {

struct Place {
  std::string config, split;
};

std::vector<std::string> parts_of(std::string_view path, char between = '/') {
  std::vector<std::string> parts;
  while (true) {
    const size_t end = path.find(between);
    parts.emplace_back(path.substr(0, end));
    if (end == std::string_view::npos) return parts;
    path.remove_prefix(end + 1);
  }
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
}

// The name without ".parquet", ".jsonl", ".json" and ".gz"; nothing for files that hold no rows.
std::optional<std::string> stem_of(const std::string& name) {
  for (const char* other : {"dataset_infos.json", "dataset_info.json", "config.json", "state.json", "metadata.json"}) {
    if (name == other) return std::nullopt;
  }
  for (const std::string_view end : {".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz"}) {
    if (name.size() > end.size() && name.ends_with(end)) return name.substr(0, name.size() - end.size());
  }
  return std::nullopt;
}

// "train" of "my-train_data", empty if no split is named.
std::string keyword_of(std::string text) {
  for (char& c : text)
    c = std::isalnum(static_cast<unsigned char>(c)) ? char(std::tolower(static_cast<unsigned char>(c))) : ' ';
  static const std::map<std::string, std::string> words = {
      {"train", "train"},      {"training", "train"}, {"validation", "validation"},
      {"valid", "validation"}, {"val", "validation"}, {"dev", "validation"},
      {"test", "test"},        {"testing", "test"},   {"eval", "test"},
      {"evaluation", "test"}};
  for (const std::string& word : parts_of(text, ' ')) {
    if (const auto found = words.find(word); found != words.end()) return found->second;
  }
  return "";
}

// "train_sft" of "train_sft-00000-of-00003" and of "train_sft-00000-of-00003-a3ecf92756993583"; empty for other names.
std::string split_of_shard(const std::string& stem) {
  const size_t of = stem.rfind("-of-");
  if (of == std::string::npos) return "";
  const size_t dash = stem.rfind('-', of - 1);
  const std::string count = stem.substr(of + 4, stem.find('-', of + 4) - of - 4);
  if (dash == std::string::npos || dash == 0 || !all_digits(std::string_view(stem).substr(dash + 1, of - dash - 1)) ||
      !all_digits(count))
    return "";
  return stem.substr(0, dash);
}

std::string config_named(const std::string& folder) {
  return folder.empty() || folder == "data" || !keyword_of(folder).empty() ? "default" : folder;
}

// What a path says; nothing for one that says nothing.
std::optional<Place> place_of(const std::string& path) {
  const std::vector<std::string> parts = parts_of(path);
  const std::string stem = stem_of(parts.back()).value_or(""), folder = parts.size() > 1 ? parts[parts.size() - 2] : "";
  if (stem.empty()) return std::nullopt;
  if (const std::string split = split_of_shard(stem); !split.empty()) return Place{config_named(folder), split};
  if (all_digits(stem) && !folder.empty()) {
    const std::string split = folder.starts_with("partial-") ? folder.substr(8) : folder;
    return Place{parts.size() > 2 ? parts[parts.size() - 3] : "default", split};
  }
  if (const std::string split = keyword_of(stem); !split.empty()) return Place{config_named(folder), split};
  if (const std::string split = keyword_of(folder); !split.empty())
    return Place{parts.size() > 2 ? config_named(parts[parts.size() - 3]) : "default", split};
  return std::nullopt;
}

using Splits = std::map<std::pair<std::string, std::string>, std::vector<std::string>>;

std::vector<SplitFiles> listed(Splits splits) {
  std::vector<SplitFiles> out;
  for (auto& [place, files] : splits) {
    std::sort(files.begin(), files.end());
    files.erase(std::unique(files.begin(), files.end()), files.end());
    out.push_back({place.first, place.second, std::move(files)});
  }
  return out;
}

Splits by_names(const std::vector<RemoteFile>& files) {
  Splits splits;
  for (const RemoteFile& file : files) {
    if (const auto place = place_of(file.name)) splits[{place->config, place->split}].push_back(file.name);
  }
  if (!splits.empty()) return splits;
  for (const RemoteFile& file : files) {  // nothing names a split: all is one
    if (stem_of(parts_of(file.name).back())) splits[{"default", "train"}].push_back(file.name);
  }
  return splits;
}

// The settings between "---" lines at a card's start; null if there are none, or if they cannot be read.
Json front_matter(std::string_view card) {
  if (!card.starts_with("---")) return {};
  const size_t begin = card.find('\n'), end = card.find("\n---", 3);
  if (begin == std::string_view::npos || end == std::string_view::npos || end <= begin) return {};
  try {
    return parse_yaml(card.substr(begin + 1, end - begin), "README.md");
  } catch (const Error&) {
    return {};
  }
}

void add_matching(const Json& patterns, const std::string& folder, const std::vector<RemoteFile>& files,
                  std::vector<std::string>& out) {
  const Json::Array one = {patterns};
  for (const Json& pattern : patterns.is_array() ? patterns.as_array() : one) {
    if (!pattern.is_string()) continue;
    for (const RemoteFile& file : files) {
      const bool fits = matches_glob(pattern.as_string(), file.name) ||
                        (!folder.empty() && matches_glob(folder + "/" + pattern.as_string(), file.name));
      if (fits && stem_of(parts_of(file.name).back())) out.push_back(file.name);
    }
  }
}

void add_config(const Json& config, const std::string& name, const std::vector<RemoteFile>& files, Splits& splits) {
  std::string folder = config.get_string("data_dir", "");
  while (folder.ends_with('/')) folder.pop_back();
  const Json* data = config.find("data_files");
  if (data == nullptr) {
    std::vector<RemoteFile> inside;
    for (const RemoteFile& file : files) {
      if (folder.empty() || file.name.starts_with(folder + "/")) inside.push_back(file);
    }
    for (const auto& [place, names] : by_names(inside)) splits[{name, place.second}] = names;
    return;
  }
  const bool by_split = data->is_array() && !data->as_array().empty() && data->as_array()[0].is_object();
  if (!by_split) return add_matching(*data, folder, files, splits[{name, "train"}]);
  for (const Json& entry : data->as_array()) {
    const Json* path = entry.find("path");
    if (path != nullptr) add_matching(*path, folder, files, splits[{name, entry.get_string("split", "train")}]);
  }
}

// Places in the path that a pattern's beginning can have reached.
using Reached = std::vector<bool>;

// One character of a pattern, or a class of them: what reaches further.
template <class Fits>
Reached step(const Reached& before, std::string_view path, Fits fits) {
  Reached after(before.size(), false);
  for (size_t i = 0; i < path.size(); ++i) after[i + 1] = before[i] && fits(path[i]);
  return after;
}

// A star: what is reached stays so, and spreads; not over a slash unless `across`.
void spread(Reached& reached, std::string_view path, bool across) {
  for (size_t i = 0; i < path.size(); ++i)
    reached[i + 1] = reached[i + 1] || (reached[i] && (across || path[i] != '/'));
}

// "**/": nothing, or whole folders.
void spread_folders(Reached& reached, std::string_view path) {
  bool any = false;
  for (size_t i = 0; i < path.size(); ++i) {
    any = any || reached[i];
    reached[i + 1] = reached[i + 1] || (any && path[i] == '/');
  }
}

std::string names_of(const std::vector<SplitFiles>& splits, const std::string* config) {
  std::vector<std::string> names;
  for (const SplitFiles& one : splits) {
    const std::string& name = config ? one.split : one.config;
    const bool fits = config == nullptr || one.config == *config;
    if (fits && std::find(names.begin(), names.end(), name) == names.end() && names.size() < 40) names.push_back(name);
  }
  return quoted_list(names);
}

}  // namespace

bool matches_glob(std::string_view pattern, std::string_view path) {
  Reached reached(path.size() + 1, false);
  reached[0] = true;
  while (!pattern.empty()) {
    size_t used = 1;
    const size_t close = pattern[0] == '[' ? pattern.find(']', 1) : std::string_view::npos;
    if (pattern.starts_with("**/")) {
      spread_folders(reached, path);
      used = 3;
    } else if (pattern[0] == '*') {
      used = pattern.starts_with("**") ? 2 : 1;
      spread(reached, path, used == 2);
    } else if (close != std::string_view::npos) {
      const std::string_view members = pattern.substr(1, close - 1);
      reached = step(reached, path, [&](char c) { return members.find(c) != std::string_view::npos; });
      used = close + 1;
    } else {
      reached = step(reached, path, [&](char c) { return pattern[0] == '?' ? c != '/' : c == pattern[0]; });
    }
    pattern.remove_prefix(used);
  }
  return reached.back();
}

namespace {

// Configurations and splits that a data set has.
class Available {
 public:
  explicit Available(const std::vector<SplitFiles>& splits) : splits_(splits) {}

  // Splits of a configuration.
  int64_t count(const std::string& config) const {
    return std::count_if(splits_.begin(), splits_.end(), [&](const SplitFiles& one) { return one.config == config; });
  }
  // The split of that name, or any for no name; null if there is none.
  const SplitFiles* find(const std::string& config, const std::string& split) const {
    const auto found = std::find_if(splits_.begin(), splits_.end(), [&](const SplitFiles& one) {
      return one.config == config && (split.empty() || one.split == split);
    });
    return found == splits_.end() ? nullptr : &*found;
  }
  // The configuration that is meant where none is named: the first of these that there is, or the only one. Else empty.
  std::string first_of(const std::vector<std::string>& names) const {
    const auto found =
        std::find_if(names.begin(), names.end(), [&](const std::string& name) { return count(name) > 0; });
    return found != names.end() ? *found : one_config() ? splits_[0].config : "";
  }
  bool one_config() const { return !splits_.empty() && count(splits_[0].config) == int64_t(splits_.size()); }

 private:
  const std::vector<SplitFiles>& splits_;
};

}  // namespace

std::vector<SplitFiles> splits_of(const std::vector<RemoteFile>& files, std::string_view card,
                                  std::string& default_config) {
  Splits splits;
  const Json settings = front_matter(card);
  if (const Json* configs = settings.find("configs"); configs != nullptr && configs->is_array()) {
    for (const Json& config : configs->as_array()) {
      const Json* told = config.find("config_name");  // a number is a name too: 3.0.0 is none, but 2024 is
      const std::string name = told == nullptr ? "default" : told->is_string() ? told->as_string() : told->dump();
      const Json* is_default = config.find("default");
      if (is_default != nullptr && *is_default == Json(true)) default_config = name;
      try {
        add_config(config, name, files, splits);
      } catch (const Error&) {  // written by hand, for other readers: what it means is not known then
      }
    }
  }
  std::erase_if(splits, [](const auto& entry) { return entry.second.empty(); });
  return listed(splits.empty() ? by_names(files) : std::move(splits));
}

SplitFiles choose_split(const std::vector<SplitFiles>& splits, const DataSpec& spec,
                        const std::string& default_config) {
  const Available there(splits);
  std::string split = spec.split;
  std::string config =
      spec.config.empty() ? there.first_of({spec.default_config, default_config, "default"}) : spec.config;
  const bool one_word = spec.config.empty() && !split.empty();
  if (one_word && there.find(config, split) == nullptr && there.count(split) > 0)
    config = std::exchange(split, "");  // the word was a configuration
  SWAGE_CHECK(!config.empty(), InvalidArgument, spec.text, ": the data set has several configurations, name one (",
              spec.id, ":CONFIG:SPLIT): ", names_of(splits, nullptr));
  SWAGE_CHECK(there.count(config) > 0, InvalidArgument, spec.text, ": no configuration \"", config, "\"; there are ",
              names_of(splits, nullptr));
  const std::string wanted = split.empty() ? "train" : split;
  if (const SplitFiles* found = there.find(config, wanted)) return *found;
  if (split.empty() && there.count(config) == 1) return *there.find(config, "");
  throw Error(ErrorKind::InvalidArgument, cat(spec.text, ": no split \"", wanted, "\"",
                                              there.one_config() ? "" : cat(" in the configuration \"", config, "\""),
                                              "; there are ", names_of(splits, &config)));
}

}  // namespace swage::data
