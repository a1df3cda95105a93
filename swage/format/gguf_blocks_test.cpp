// Every code, sub-scale and table entry of each type of blocks: random bytes under sane scales, with the values that
// ggml's C decoders make of them (tests/data/format/README.md).
#include "swage/format/gguf_blocks.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/io/mmap_file.h"
#include "swage/io/safetensors.h"

namespace swage::format {
namespace {

class GgufGolden {
 public:
  GgufGolden()
      : file_(std::filesystem::path(SWAGE_TEST_DATA) / "format/gguf_types.safetensors"),
        header_(io::parse_safetensors_header(file_.bytes(), "gguf_types")) {}
  const io::StoredTensor& at(const std::string& name) const {
    for (const io::StoredTensor& tensor : header_.tensors) {
      if (tensor.spec.name == name) return tensor;
    }
    throw std::out_of_range(name);
  }
  std::string_view bytes(const std::string& name) const {
    const io::StoredTensor& found = at(name);
    return file_.bytes().substr(found.offset, found.bytes);
  }
  std::vector<io::GgufType> types() const {
    std::vector<io::GgufType> out;
    for (uint32_t id = 0; id < 64; ++id) {
      const io::GgufType* type = io::gguf_type(id);
      const auto is_type = [&](const io::StoredTensor& tensor) {
        return tensor.spec.name == std::string(type->name) + ".raw";
      };
      if (type != nullptr && std::any_of(header_.tensors.begin(), header_.tensors.end(), is_type)) out.push_back(*type);
    }
    return out;
  }

 private:
  io::MmapFile file_;
  io::SafetensorsHeader header_;
};

TEST(GgufBlocks, MeanWhatGgmlMakesOfThem) {
  const GgufGolden golden;
  int decoded = 0;
  for (const io::GgufType& type : golden.types()) {
    const std::string name = type.name;
    const std::vector<int64_t>& shape = golden.at(name + ".f32").spec.shape;
    if (!decodes_gguf(type)) {
      EXPECT_TRUE(name.starts_with("IQ1") || name.starts_with("IQ2") || name.starts_with("IQ3")) << name;
      EXPECT_THROW(decode_gguf(type, golden.bytes(name + ".raw"), shape), Error);
      continue;
    }
    const at::Tensor found = decode_gguf(type, golden.bytes(name + ".raw"), shape);
    const std::string_view want = golden.bytes(name + ".f32");
    const auto* expected = reinterpret_cast<const float*>(want.data());
    int64_t differing = 0;
    for (int64_t i = 0; i < found.numel(); ++i) differing += found.const_data_ptr<float>()[i] != expected[i];
    EXPECT_EQ(differing, 0) << name;
    ++decoded;
  }
  EXPECT_EQ(decoded, 20);
}

}  // namespace
}  // namespace swage::format
