// Models by name: the Hugging Face hub's cache on disk, and downloads into it.
#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace swage::data {

struct HubOptions {
  std::filesystem::path cache_dir;  // holds models--ORG--NAME folders; empty: no cache, so no hub
  std::string endpoint = "https://huggingface.co";
  std::string token;                                                        // empty: anonymous
  bool offline = false;                                                     // the cache only
  std::function<void(const std::string&)> log = [](const std::string&) {};  // one line a downloaded file
};

// Options as Hugging Face's own tools read them from the environment: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME,
// HF_ENDPOINT, HF_TOKEN (else the file HF_HOME/token), HF_HUB_OFFLINE. The library does not look there by itself:
// `variable` gives a variable's value, or nothing if it is not set.
HubOptions hub_options(const std::function<std::optional<std::string>(const std::string&)>& variable);

// The folder of a model: an existing folder or .gguf file as it is; else a hub id ("org/name", "org/name@revision") as
// its snapshot in the cache, if config.json and all safetensors shards are there; else downloaded. Throws
// Error(InvalidArgument) for what is neither, Error(Unsupported) for a repository without safetensors,
// Error(Io) for a failed download; each names what was tried.
std::filesystem::path resolve_model(const std::string& folder_or_id, const HubOptions& options);

}  // namespace swage::data
