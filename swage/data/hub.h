// Models by name: the Hugging Face hub's cache on disk, and downloads into it.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "swage/base/context.h"

namespace swage::data {

struct HubOptions {
  std::filesystem::path cache_dir;  // holds models--ORG--NAME folders; empty: no cache, so no hub
  std::string endpoint = "https://huggingface.co";
  std::string token;             // empty: anonymous
  bool offline = false;          // the cache only
  int64_t timeout_seconds = 30;  // without a byte, after which a connection is given up
};

// Options as Hugging Face's own tools read them from the environment: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME,
// HF_ENDPOINT, HF_TOKEN (else the file HF_TOKEN_PATH, by default HF_HOME/token), HF_HUB_OFFLINE,
// HF_HUB_DOWNLOAD_TIMEOUT, and the older names of these. The library does not look there by itself: `variable` gives a
// variable's value, or nothing if it is not set.
HubOptions hub_options(const std::function<std::optional<std::string>(const std::string&)>& variable);

// The folder of a model: an existing folder or .gguf file as it is; else a hub id ("org/name", "org/name@revision") as
// its snapshot in the cache, if all that a run needs is there; else downloaded: configuration, tokenizer, licence,
// model card and the weights that model.safetensors or its index name. Throws Error(InvalidArgument) for what is
// neither, Error(Unsupported) for a repository without safetensors, Error(Io) for a failed download; each names what
// was tried.
std::filesystem::path resolve_model(const std::string& folder_or_id, const HubOptions& options, const Context& context);

// A folder that lives as long as `lifetime`.
struct ModelHeaders {
  std::filesystem::path folder;
  std::shared_ptr<const void> lifetime;
};
// The same for those who read headers alone: of a hub id that is not in the cache, the shards' headers and the stored
// shapes are fetched by range requests, into files that have holes where the weights would be.
ModelHeaders resolve_headers(const std::string& folder_or_id, const HubOptions& options, const Context& context);

}  // namespace swage::data
