// The run's text: rows to calibrate on, and windows kept apart for the check afterwards.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/base/json.h"
#include "swage/data/dataset.h"
#include "swage/eval/questions.h"
#include "swage/job/compress_job.h"

namespace swage::pipeline {

struct Text {
  at::Tensor ids_NL;      // calibration rows; undefined for a run without calibration
  at::Tensor windows_NL;  // for the check; undefined without a data file
  eval::Masking masking;  // of those windows, for a masked language model
  bool held_out = false;  // the windows come from documents that calibration did not see
  int64_t documents_used = 0, documents_skipped = 0, documents_read = 0;
  int64_t rows_wanted = 0;
  std::string data;          // as the user named it
  std::string form, commit;  // see data::Documents
  std::vector<data::DataFile> files;

  int64_t tokens() const { return ids_NL.defined() ? ids_NL.numel() : 0; }
  Json to_json() const;
  // "12 rows of 64 tokens (768 tokens) from 20 documents of calib.jsonl; 512 rows were asked for, the text holds no
  // more"; empty without calibration.
  std::string summary() const;
};

// What is doubtful about so little text, and what to do. `widest`: columns of the largest Gram matrix, 0: there is
// none.
std::vector<std::string> calibration_warnings(const Text& text, int64_t widest);

// Reads the job's text, fetched if need be, with the source's tokenizer; reads neither if there is none.
// Error(InvalidArgument) if the run has to `calibrate` and none is given.
Text read_text(const CompressJob& job, bool calibrate, const Context& context);

}  // namespace swage::pipeline
