// Small checkpoints written by tests, and errors they expect.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "swage/base/error.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/writer.h"
#include "swage/format/format_test_support.h"
#include "swage/format/golden_test_support.h"
#include "swage/scheme/config_json.h"

namespace swage::format {

namespace fs = std::filesystem;

// A folder for one test, gone after it.
class Folder {
 public:
  Folder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(testing::TempDir()) / cat("swage_", test->test_suite_name(), "_", test->name(), "_", ::getpid());
    fs::remove_all(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

inline void write_checkpoint(const fs::path& folder, const Json& config, const golden::Tensors& tensors) {
  std::vector<io::TensorSpec> specs;
  for (const auto& [name, tensor] : tensors)
    specs.push_back({name, checkpoint::dtype_of(tensor.scalar_type()), tensor.sizes().vec()});
  checkpoint::WriterOptions options;
  options.overwrite = true;
  checkpoint::Writer writer(folder, specs, options);
  for (const auto& [name, tensor] : tensors) writer.put(name, tensor);
  writer.add_file("config.json", config.dump(2));
  writer.finish();
}

inline Json config_for(const scheme::Scheme& scheme, std::vector<std::string> ignore = {}) {
  Json config = Json::object();
  config.set("quantization_config", to_json(scheme::config_of(scheme, std::move(ignore))));
  return config;
}

}  // namespace swage::format
