// A model of the hub without its weights: configuration and headers in a temporary folder, for those who read no more.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "swage/data/hub/remote.h"

namespace swage::data {

// Holds copies of the JSON files of the snapshot, and each weight file at its full length with holes where data would
// be: only the header and the stored shapes (weight_shape of packed weights) have bytes. Removed with this object.
class HeaderFolder {
 public:
  HeaderFolder(RemoteRepo& remote, const std::string& commit, const std::vector<RemoteFile>& weights,
               const Context& context);
  ~HeaderFolder();
  HeaderFolder(const HeaderFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }

 private:
  void bring(RemoteRepo& remote, const std::string& commit, const std::vector<RemoteFile>& weights,
             const Context& context);
  std::filesystem::path folder_;
};

}  // namespace swage::data
