// GGUF models of llama.cpp's own converter (tests/data/gguf; all of them where the full set lies beside the checkout):
// tokenizers give the ids that transformers and llama.cpp give. Their logits: tests/e2e/gguf_test.py.
#include "swage/convert/gguf_import.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/checkpoint/reader.h"
#include "swage/data/tokenizer.h"
#include "swage/io/gguf_test_support.h"
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
  refused(ErrorKind::CorruptData, "\"blk.0.ffn_up_exps.weight\": a stack of experts of shape [32, 32]",
          changed("blk.0.attn_output.weight", "blk.0.ffn_up_exps.weight"));
  ConvertJob job = job_of(source, folder / "out");
  job.to = "gptq";
  expect_error(ErrorKind::InvalidArgument, "GGUF is read as --to dense", [&] { import_gguf(job, Context()); });
}

// A llama of one table, to be broken.
struct Broken : io::test::GgufParts {
  Broken() {
    keys = {word("general.architecture", "llama"),
            u32("llama.embedding_length", 8),
            u32("llama.feed_forward_length", 8),
            u32("llama.block_count", 0),
            u32("llama.context_length", 8),
            u32("llama.attention.head_count", 2),
            f32("llama.attention.layer_norm_rms_epsilon", 1e-5F)};
    tensors = {tensor("token_embd.weight", {8, 4}, 0, 0)};
    data.resize(128);
  }
  void replace(std::string_view key, const std::string& with) {
    for (std::string& one : keys) {
      if (one.starts_with(text(key))) one = with;
    }
  }
};

TEST(GgufImport, RefusesKeysThatDoNotFit) {
  const auto refused = [](std::string_view words, const auto& change) {
    const TempFolder folder;
    Broken broken;
    change(broken);
    const fs::path file = folder.write("broken.gguf", broken.file());
    expect_error(ErrorKind::CorruptData, words, [&] { import_gguf(job_of(file, folder / "out"), Context()); });
  };
  refused("no heads",
          [](Broken& b) { b.replace("llama.attention.head_count", b.u32("llama.attention.head_count", 0)); });
  refused(": tensor \"token_embd.weight\" is missing or no table", [](Broken& b) { b.tensors.clear(); });
  refused(" rows are no heads of ", [](Broken& b) {
    b.replace("llama.block_count", b.u32("llama.block_count", 1));
    b.tensors.push_back(b.tensor("blk.0.attn_q.weight", {8, 7}, 0, 128));
    b.data.resize(128 + 224);
  });
  refused("llama.context_length: -3 is out of range", [](Broken& b) {
    b.replace("llama.context_length",
              b.text("llama.context_length") + io::test::raw(uint32_t{5}) + io::test::raw(int32_t{-3}));
  });
  refused("llama.attention.layer_norm_rms_epsilon: expected a number, found \"x\"", [](Broken& b) {
    b.replace("llama.attention.layer_norm_rms_epsilon", b.word("llama.attention.layer_norm_rms_epsilon", "x"));
  });
  const auto model = [](Broken& b, std::string_view kind) { b.keys.push_back(b.word("tokenizer.ggml.model", kind)); };
  const auto tokens = [](Broken& b) { b.keys.push_back(b.words("tokenizer.ggml.tokens", {"a", "b"})); };
  refused("tokenizer.ggml.tokens is missing", [&](Broken& b) { model(b, "gpt2"); });
  refused("tokenizer.ggml.token_type has 1 entries for 2 tokens", [&](Broken& b) {
    model(b, "gpt2");
    tokens(b);
    b.keys.push_back(b.numbers("tokenizer.ggml.token_type", {1}));
  });
  refused("tokenizer.ggml.scores has 1 entries for 2 tokens", [&](Broken& b) {
    model(b, "llama");
    tokens(b);
    b.keys.push_back(b.numbers("tokenizer.ggml.scores", {1}));
  });
  refused("tokenizer.ggml.merges is missing", [&](Broken& b) {
    model(b, "gpt2");
    tokens(b);
  });
  refused("tokenizer.ggml.merges: \"ab\" is no pair", [&](Broken& b) {
    model(b, "gpt2");
    tokens(b);
    b.keys.push_back(b.words("tokenizer.ggml.merges", {"ab"}));
  });
  refused("tokenizer.ggml.scores is missing", [&](Broken& b) {
    model(b, "llama");
    tokens(b);
  });
}

}  // namespace
}  // namespace swage::pipeline
