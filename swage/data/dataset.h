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
  std::string text_column;    // empty: found by the columns there are; see row_form.h
  std::string form;           // what the rows of a registered data set are made into; empty: found by the columns
  int64_t first_row = 0;      // rows before it are passed over
  int64_t last_row = -1;      // rows from it on are; -1: to the end
  uint64_t enough_bytes = 0;  // of text, after which no more rows are read; 0: all
  bool joins_rows = false;    // all rows are one document, empty ones of them " \n"
};

// Where a set's rows come from: documents in order, or windows at random places as optimum draws them, of the one
// document or of documents that are drawn, too.
enum class Draw { None, Places, DocumentsAndPlaces };

// What is known of the text of a run, for its report.
struct DataFile {
  std::string name;
  std::string sha256;
};

// One string a document. Conversations go through the model's chat template, with special tokens in the text already;
// `formatted` tells.
struct Documents {
  std::vector<std::string> texts;
  bool formatted = false;  // out of the chat template: no special tokens may be added
  std::string form;        // what a row's text is made of: "text", "messages", "prompt + response", "open_platypus"
  std::vector<DataFile> files;  // where they came from, if load_documents() read them
  std::string commit;           // of a data set of the hub
  Draw draw = Draw::None;       // what make_calibration_set() does, unless documents are to be shuffled or not packed
};
// Format by the name's end: .jsonl/.json (also .gz), .parquet, .txt (whole file is one document).
// Error(InvalidArgument) naming the columns found when none can be read, or for an empty set.
Documents read_documents(const std::filesystem::path& file, const Tokenizer& tokenizer,
                         const DatasetOptions& options = {});
// By its name's end.
bool is_data_file(const std::filesystem::path& file);
// Rows of a file, a .txt file being one.
int64_t count_rows(const std::filesystem::path& file);

struct BatchOptions {
  int64_t num_samples = 512;      // rows wanted
  int64_t max_seq_length = 2048;  // tokens per row
  bool pack = true;      // documents end to end into full rows; false: one document a row, shorter ones skipped
  bool shuffle = false;  // documents, by `seed`; false keeps the file's order
  uint64_t seed = 42;
};

struct CalibrationSet {
  at::Tensor ids_NL;  // int64 [rows, max_seq_length]; every token counts, there is no padding
  int64_t documents_used = 0;
  int64_t documents_skipped = 0;  // too short, with pack = false
};
// Error(InvalidArgument) when the text holds fewer tokens than one row. With pack = false and shuffle = false: the
// first num_samples documents of at least max_seq_length tokens, each cut to that length.
CalibrationSet make_calibration_set(const Documents& documents, const Tokenizer& tokenizer,
                                    const BatchOptions& options);

struct WindowOptions {
  int64_t window = 512;
  int64_t max_windows = 0;  // 0: all
};
// Evaluation windows [N, window]: documents joined by a blank line, tokenized once without special tokens, cut into
// non-overlapping windows. A tokenizer that prepends BOS by itself gets windows of BOS + window-1 tokens.
at::Tensor make_windows(const Documents& documents, const Tokenizer& tokenizer, const WindowOptions& options);

}  // namespace swage::data
