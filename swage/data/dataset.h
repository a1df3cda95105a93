// Calibration and evaluation text: documents out of JSONL, plain text or Parquet files, and windows of token ids.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "swage/data/tokenizer.h"

namespace swage::data {

struct DatasetOptions {
  std::string text_column;  // empty: "text", else "messages", whichever the file has
};

// One string a document. A `messages` column (array of {role, content}) goes through the model's chat template, with
// special tokens in the text already; `formatted` tells. Format by the name's end: .jsonl/.json, .parquet, .txt (whole file
// is one document). Error(InvalidArgument) naming the columns found when the wanted one is absent, or for an empty set.
struct Documents {
  std::vector<std::string> texts;
  bool formatted = false;  // out of the chat template: no special tokens may be added
};
Documents read_documents(const std::filesystem::path& file, const Tokenizer& tokenizer, const DatasetOptions& options = {});

struct BatchOptions {
  int64_t num_samples = 512;      // rows wanted
  int64_t max_seq_length = 2048;  // tokens per row
  bool pack = true;               // documents end to end into full rows; false: one document a row, shorter ones skipped
  bool shuffle = false;           // documents, by `seed`; false keeps the file's order
  uint64_t seed = 42;
};

struct CalibrationSet {
  at::Tensor ids_NL;  // int64 [rows, max_seq_length]; every token counts, there is no padding
  int64_t documents_used = 0;
  int64_t documents_skipped = 0;  // too short, with pack = false
};
// Error(InvalidArgument) when the text holds fewer tokens than one row. With pack = false and shuffle = false: the
// first num_samples documents of at least max_seq_length tokens, each cut to that length.
CalibrationSet make_calibration_set(const Documents& documents, const Tokenizer& tokenizer, const BatchOptions& options);

struct WindowOptions {
  int64_t window = 512;
  int64_t max_windows = 0;  // 0: all
};
// Evaluation windows [N, window]: documents joined by a blank line, tokenized once without special tokens, cut into
// non-overlapping windows. A tokenizer that prepends BOS by itself gets windows of BOS + window-1 tokens.
at::Tensor make_windows(const Documents& documents, const Tokenizer& tokenizer, const WindowOptions& options);

}  // namespace swage::data
