// A folder uploaded to the hub in one commit, the way huggingface_hub does it without Xet: the hub says which files are
// large (LFS), these go to where its batch answer points, in parts if it wants them so, and the commit names them. What
// the hub has already is not sent again, so that an upload that broke off goes on where it was.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/data/hub.h"

namespace swage::data {

struct PushRequest {
  std::filesystem::path folder;
  std::string repo;               // "org/name"
  std::string revision = "main";  // a branch, made if it is not there
  std::string message = "Upload model";
  std::optional<bool> is_private;  // of a repository that is made now; nothing: as the account's owner has set it
};

// {"url", "commit", "files", "bytes", "uploaded_bytes", "created"}. Error(InvalidArgument) for a folder that is no
// model, a name that is none, or without a token; Error(Io) for what the hub refuses. No message ever holds the token.
Json push_folder(const PushRequest& request, const HubOptions& options, const Context& context);

}  // namespace swage::data
