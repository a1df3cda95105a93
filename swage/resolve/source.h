// The source of a run as the run found it: which of its files are read or copied, and whether they stay what they were.
// A file that the run has no use for may come, change and go.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/checkpoint/read_log.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/writer.h"
#include "swage/io/side_files.h"

namespace swage::pipeline {

class Source {
 public:
  // Opens the folder. Error(Io) if its config.json is a link to a file that is no part of it: it would be written into
  // the output.
  explicit Source(const std::filesystem::path& folder);

  const checkpoint::Reader& reader() const { return reader_; }
  checkpoint::ReadLog& log() const { return log_; }
  // The folder's own name, however its path was written.
  const std::string& name() const { return name_; }

  // What the output's weights depend on: config.json and other settings by their bytes; names, types, shapes and places
  // of the tensors in each file. The tensors' values are what the log knows of them.
  const Json& identity() const { return identity_; }
  // Sizes, times and inodes of the weight files: where they are equal, nothing was written to the files in between.
  const Json& state() const { return state_; }

  // What in the folder contradicts itself, and files beside the weights that look like part of the model and are not
  // copied, a sentence each.
  std::vector<std::string> warnings() const;
  void copy_side_files(checkpoint::Writer& writer, std::string_view but = {}) const;  // all but the one of that name

  // Error(CorruptData) that names what of config or weights is not as it was when it was read: the output would come
  // from two models. Error(Io) for the other files, which nothing that is finished depends on, and for weights that
  // were written to and have the bytes that were read.
  void check_unchanged() const;
  // In words, what of the weights is not as the log knows it; empty if all is. Reads again what was read.
  std::string changed_weights() const;

 private:
  const std::filesystem::path folder_;
  mutable checkpoint::ReadLog log_;
  const checkpoint::Reader reader_;
  std::string name_;
  Json identity_, state_;
  io::SideFiles side_;
  using Digests = std::vector<std::pair<std::filesystem::path, std::string>>;
  Digests settings_, copied_;
};

}  // namespace swage::pipeline
