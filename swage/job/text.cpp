#include "swage/job/text.h"

#include <algorithm>

#include "swage/base/error.h"

namespace swage::pipeline {
namespace {

constexpr int64_t kCheckWindows = 4, kCheckWindow = 128;  // 508 predictions: enough to see corruption, little beside the run
constexpr size_t kFewDocuments = 20;                      // a smaller set is used whole
constexpr size_t kCharactersPerToken = 6;                 // more than any tokenizer averages on prose

// Takes documents off the end until they hold enough text for the check windows, at most a tenth of all.
data::Documents split_off_tail(data::Documents& documents) {
  data::Documents tail;
  tail.formatted = documents.formatted;
  if (documents.texts.size() < kFewDocuments) return tail;
  const size_t wanted = size_t(kCheckWindows * kCheckWindow) * kCharactersPerToken, most = documents.texts.size() / 10;
  size_t characters = 0;
  while (characters < wanted && tail.texts.size() < most) {
    characters += documents.texts.back().size();
    tail.texts.push_back(std::move(documents.texts.back()));
    documents.texts.pop_back();
  }
  return tail;
}

// Windows of the check; fewer or shorter ones where the text is short, none if it has no two tokens.
at::Tensor check_windows(const data::Documents& documents, const data::Tokenizer& tokenizer, int64_t longest) {
  for (int64_t window = std::min(kCheckWindow, longest); window >= 8; window /= 2) {
    try {
      return data::make_windows(documents, tokenizer, {.window = window, .max_windows = kCheckWindows});
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::InvalidArgument) throw;  // too short for one window: try a shorter one
    }
  }
  return {};
}

}  // namespace

Json Text::to_json() const {
  Json out = Json::object();
  if (ids_NL.defined()) {
    out.set("rows", ids_NL.size(0));
    out.set("tokens_per_row", ids_NL.size(1));
    out.set("documents_used", documents_used);
    out.set("documents_skipped", documents_skipped);
  }
  return out;
}

Text read_text(const CompressJob& job, bool calibrate, uint64_t seed) {
  const modifiers::Modifier* calibrating = job.chain.calibrating();
  SWAGE_CHECK(!calibrate || !job.data_file.empty(), InvalidArgument, calibrating ? calibrating->name() : "scales of activations",
              calibrating ? " needs" : " need", " calibration text: give a data file (-d FILE)");
  Text out;
  if (job.data_file.empty()) return out;
  const data::Tokenizer tokenizer(job.source);
  data::Documents documents = data::read_documents(job.data_file, tokenizer, {.text_column = job.text_column});
  data::Documents tail = split_off_tail(documents);
  if (calibrate) {
    data::BatchOptions options;
    options.num_samples = job.num_calibration_samples;
    options.max_seq_length = job.max_seq_length;
    options.pack = job.pack;
    options.shuffle = job.shuffle;
    options.seed = seed;
    const data::CalibrationSet set = data::make_calibration_set(documents, tokenizer, options);
    out.ids_NL = set.ids_NL;
    out.documents_used = set.documents_used;
    out.documents_skipped = set.documents_skipped;
  }
  out.held_out = !tail.texts.empty();
  out.windows_NL = check_windows(out.held_out ? tail : documents, tokenizer, job.max_seq_length);
  return out;
}

}  // namespace swage::pipeline
