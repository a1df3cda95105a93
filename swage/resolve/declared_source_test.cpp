#include "swage/resolve/declared_source.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/io/tensor_spec.h"

namespace swage::pipeline {
namespace {

Json config_of(const std::string& name) {
  return read_json_file(cat(SWAGE_TEST_DATA, "/model/", name, "/config.json"));
}

// What the shards of the same model hold, by name and shape, in the type that the config names.
TEST(DeclaredSource, HasTheTensorsThatTheArchitectureStores) {
  for (const char* name : {"llama32_tied", "mixtral", "opt"}) {
    Json config = config_of(name);
    config.set("dtype", "float16");
    const checkpoint::Reader declared = declared_source("folder", config),
                             stored(cat(SWAGE_TEST_DATA, "/model/", name));
    EXPECT_EQ(declared.tensors().size(), stored.tensors().size()) << name;
    for (const io::TensorSpec& spec : stored.tensors()) {
      const io::TensorSpec* found = declared.find(spec.name);
      ASSERT_NE(found, nullptr) << spec.name;
      EXPECT_EQ(found->shape, spec.shape) << spec.name;
      EXPECT_EQ(found->dtype, io::Dtype::F16);
    }
  }
}

TEST(DeclaredSource, IsDenseAndBf16UnlessTheConfigSaysOtherwise) {
  Json config = config_of("llama32_tied");
  config.erase("dtype");
  config.erase("torch_dtype");
  config.set("quantization_config", Json::object());
  const checkpoint::Reader declared = declared_source("folder", config);
  EXPECT_EQ(declared.find("model.embed_tokens.weight")->dtype, io::Dtype::BF16);
  EXPECT_EQ(declared.config().find("quantization_config"), nullptr);
}

TEST(DeclaredSource, ReadingATensorIsOurError) {
  const checkpoint::Reader declared = declared_source("folder", config_of("llama32_tied"));
  EXPECT_TRUE(declared.files().empty());
  try {
    declared.read("model.embed_tokens.weight");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Internal);
    EXPECT_NE(std::string(e.what()).find("there is a config only"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace swage::pipeline
