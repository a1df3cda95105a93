// GGUF models of llama.cpp's own converter (tests/data/gguf; all of them where the full set lies beside the checkout):
// tokenizers give the ids that transformers and llama.cpp give. Their logits: tests/e2e/gguf_test.py.
#include "swage/convert/gguf_import.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/checkpoint/reader.h"
#include "swage/data/tokenizer.h"
#include "swage/io/test_files.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;
using io::test::expect_error;
using io::test::TempFolder;

std::vector<fs::path> models() {
  std::vector<fs::path> out;
  const fs::path full = fs::path(SWAGE_FULL_DATA) / "gguf/models";
  const fs::path folder = fs::is_directory(full) ? full : fs::path(SWAGE_TEST_DATA) / "gguf";
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory()) out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

ConvertJob job_of(const fs::path& source, const fs::path& target) {
  ConvertJob job;
  job.to = "dense";
  job.source = source;
  job.target = target;
  return job;
}

TEST(GgufImport, TokenizersGiveTheSameIds) {
  for (const fs::path& model : models()) {
    const TempFolder folder;
    import_gguf(job_of(model / "model.gguf", folder / "out"), Context());
    const data::Tokenizer tokenizer(folder / "out");
    const Json texts = read_json_file(model / "tokens.json");
    EXPECT_FALSE(texts.as_array().empty()) << model;
    for (const Json& row : texts.as_array()) {
      std::vector<int64_t> want;
      for (const Json& id : row.at("ids").as_array()) want.push_back(id.as_int());
      EXPECT_EQ(tokenizer.encode(row.at("text").as_string(), false), want) << model << ": " << row.dump();
    }
  }
}

TEST(GgufImport, Llama3sScalingComesBackOutOfItsDivisors) {
  const TempFolder folder;
  import_gguf(job_of(fs::path(SWAGE_TEST_DATA) / "gguf/llama32_tied/model.gguf", folder / "out"), Context());
  const Json config = checkpoint::Reader(folder / "out").config();
  EXPECT_EQ(config.at("rope_scaling").dump(),
            R"({"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
            R"("original_max_position_embeddings":64})");
  EXPECT_EQ(config.at("rms_norm_eps").dump(), "1e-05");
  EXPECT_TRUE(config.at("tie_word_embeddings").as_bool());
}

TEST(GgufImport, RefusesWhatItCannotName) {
  const TempFolder folder;
  const fs::path source = fs::path(SWAGE_TEST_DATA) / "gguf/llama32_tied/model.gguf";
  const std::string whole = read_regular_file(source, 1 << 30);
  const auto changed = [&](std::string_view from, std::string_view to) {
    std::string bytes = whole;
    for (size_t at = bytes.find(from); at != std::string::npos; at = bytes.find(from, at + to.size()))
      bytes.replace(at, from.size(), to);
    return folder.write("changed.gguf", bytes);
  };
  const auto refused = [&](ErrorKind kind, std::string_view words, const fs::path& file) {
    expect_error(kind, words, [&] { import_gguf(job_of(file, folder / "out"), Context()); });
    EXPECT_FALSE(fs::exists(folder / "out"));
  };
  refused(ErrorKind::Unsupported, "tensor \"blk.0.attn_X.weight\" is not known",
          changed("blk.0.attn_q.weight", "blk.0.attn_X.weight"));
  refused(ErrorKind::CorruptData, "the key llama.block_count is missing",
          changed("llama.block_count", "llama.block_coXnt"));
  refused(ErrorKind::Unsupported, "tokenizer.ggml.pre \"smollX\" is not known", changed("smollm", "smollX"));
  refused(ErrorKind::CorruptData, "general.architecture is missing",
          changed("general.architecture", "general.archiXecture"));
  ConvertJob job = job_of(source, folder / "out");
  job.to = "gptq";
  expect_error(ErrorKind::InvalidArgument, "GGUF is read as --to dense", [&] { import_gguf(job, Context()); });
}

}  // namespace
}  // namespace swage::pipeline
