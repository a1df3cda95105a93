// A file that changed after it was written is found, and its module named.
#include "swage/job/self_check.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "swage/base/error.h"
#include "swage/checkpoint/writer.h"
#include "swage/format/format.h"
#include "swage/io/test_files.h"
#include "swage/resolve/output.h"
#include "swage/scheme/config_json.h"
#include "swage/scheme/presets.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;

class SelfCheck : public testing::Test {
 protected:
  // Two linears of W4A16 in one file.
  void write() {
    const scheme::Scheme scheme = scheme::with_group_size(scheme::preset("W4A16"), 32);
    const format::Format& format = format::format_for(scheme);
    std::vector<io::TensorSpec> layout;
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    at::manual_seed(4);
    for (const std::string module : {"a", "b"}) {
      format::QuantizedWeight weight;
      weight.codes_OI = at::randint(-8, 8, {8, 64}, at::kChar);
      weight.scale_OG = at::rand({8, 2}).add_(0.1).to(at::kBFloat16);
      for (io::TensorSpec spec : format.specs(*scheme.weights, 8, 64, io::Dtype::BF16)) {
        spec.name = module + "." + spec.name;
        layout.push_back(spec);
      }
      for (auto& [suffix, tensor] : format.pack(*scheme.weights, weight))
        tensors.emplace_back(module + "." + suffix, tensor);
      modules_.push_back(
          {.name = module, .scheme = {}, .warnings = {}, .target = {}, .fingerprint = fingerprint(weight)});
    }
    checkpoint::Writer writer(folder_ / "model", layout);
    for (const auto& [name, tensor] : tensors) writer.put(name, tensor);
    Json config = Json::object();
    config.set("quantization_config", scheme::to_json(scheme::config_of(scheme, {})));
    writer.add_file("config.json", config.dump(2));
    writer.close_shards();
    writer.finish();
  }

  const io::test::TempFolder folder_;
  std::vector<ModuleReport> modules_;
};

TEST_F(SelfCheck, AcceptsWhatWasWritten) {
  write();
  EXPECT_NO_THROW(check_files(folder_ / "model", modules_));
}

TEST_F(SelfCheck, FindsOneChangedBit) {
  write();
  const fs::path file = folder_ / "model/model.safetensors";
  const auto size = std::streamoff(fs::file_size(file));
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(size - 9);  // in the last tensor's data
  const char byte = char(stream.get() ^ 0x10);
  stream.seekp(size - 9);
  stream.put(byte);
  stream.close();
  try {
    check_files(folder_ / "model", modules_);
    FAIL() << "the change went unnoticed";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Internal);
    EXPECT_NE(std::string(e.what()).find("reads back other than it was solved"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace swage::pipeline
