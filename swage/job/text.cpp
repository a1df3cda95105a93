#include "swage/job/text.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/data/data_source.h"
#include "swage/data/framing.h"

namespace swage::pipeline {
namespace {

constexpr int64_t kCheckWindows = 4,
                  kCheckWindow = 128;      // 508 predictions: enough to see corruption, little beside the run
constexpr size_t kFewDocuments = 20;       // a smaller set is used whole
constexpr size_t kCharactersPerToken = 6;  // more than any tokenizer averages on prose

// Takes documents off the end until they hold enough text for the check windows, at most a tenth of all; none where any
// of them may be drawn.
data::Documents split_off_tail(data::Documents& documents) {
  data::Documents tail;
  tail.formatted = documents.formatted;
  if (documents.texts.size() < kFewDocuments || documents.draw != data::Draw::None) return tail;
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

// Of a data set by name: so much that the rows are filled and a tenth is left for the check, with tokens of up to 6
// bytes on average, which is more than texts have that any tokenizer was made for. Rows that are too short with
// --no-pack are why that is 4 times more than rows need.
uint64_t enough_bytes(const CompressJob& job) {
  constexpr double kBytesPerToken = 6, kMargin = 1.25, kShortRows = 4;
  const double tokens = double(job.num_calibration_samples) * double(job.max_seq_length);
  const double bytes = tokens * kBytesPerToken * (job.pack ? kMargin : kMargin * kShortRows);
  return job.shuffle ? 0 : uint64_t(std::min(bytes + double(size_t{1} << 16), 1e15));
}

}  // namespace

Json Text::to_json() const {
  Json out = Json::object();
  if (ids_NL.defined()) {
    out.set("rows", ids_NL.size(0));
    out.set("rows_wanted", rows_wanted);
    out.set("tokens_per_row", ids_NL.size(1));
    out.set("tokens", tokens());
    out.set("documents_used", documents_used);
    out.set("documents_skipped", documents_skipped);
  }
  if (data.empty()) return out;
  Json source = Json::object(), list = Json::array();
  source.set("name", data);
  source.set("form", form);
  source.set("documents", documents_read);
  if (!commit.empty()) source.set("commit", commit);
  for (const data::DataFile& file : files) {
    Json one = Json::object();
    one.set("name", file.name);
    one.set("sha256", file.sha256);
    list.push_back(std::move(one));
  }
  source.set("files", std::move(list));
  out.set("data", std::move(source));
  return out;
}

std::string Text::summary() const {
  if (!ids_NL.defined()) return "";
  const int64_t rows = ids_NL.size(0);
  std::string out = cat(rows, rows == 1 ? " row of " : " rows of ", ids_NL.size(1), " tokens (", tokens(),
                        " tokens) from ", documents_used, documents_used == 1 ? " document of " : " documents of ",
                        std::filesystem::path(data).filename().string());
  if (rows < rows_wanted) out += cat("; ", rows_wanted, " rows were asked for, the text holds no more");
  return out;
}

std::vector<std::string> calibration_warnings(const Text& text, int64_t widest) {
  std::vector<std::string> out;
  if (text.tokens() >= widest || text.tokens() == 0) return out;
  const int64_t length = text.ids_NL.size(1), rows = (widest + length - 1) / length;
  const bool more_asked = text.ids_NL.size(0) >= text.rows_wanted;
  out.push_back(cat("little calibration: ", text.tokens(), " tokens for inputs of up to ", widest,
                    " columns, whose statistics they cannot fill; the result may be worse than "
                    "without calibration. ",
                    more_asked
                        ? cat("Use --num-calibration-samples ", rows, " or more, or longer rows (--max-seq-length)")
                        : cat("Give more text: ", rows, " rows of ", length, " tokens at least")));
  return out;
}

Text read_text(const CompressJob& job, bool calibrate, const Context& context) {
  const modifiers::Modifier* calibrating = job.chain.calibrating();
  SWAGE_CHECK(!calibrate || !job.data_file.empty(), InvalidArgument,
              calibrating ? calibrating->name() : "scales of activations", calibrating ? " needs" : " need",
              " calibration text: give a data file (-d FILE)");
  Text out;
  if (job.data_file.empty()) return out;
  const data::Tokenizer tokenizer(job.source);
  data::Documents documents =
      data::load_documents({.name = job.data_file, .text_column = job.text_column, .enough_bytes = enough_bytes(job)},
                           tokenizer, job.hub, context);
  out.data = job.data_file;
  out.form = documents.form;
  out.commit = documents.commit;
  out.files = documents.files;
  out.documents_read = int64_t(documents.texts.size());
  data::Documents tail = split_off_tail(documents);
  if (calibrate) {
    data::BatchOptions options;
    options.num_samples = job.num_calibration_samples;
    options.max_seq_length = job.max_seq_length;
    options.pack = job.pack;
    options.shuffle = job.shuffle;
    options.seed = context.seed;
    out.rows_wanted = options.num_samples;
    const data::CalibrationSet set = data::make_calibration_set(documents, tokenizer, options);
    out.ids_NL = set.ids_NL;
    out.documents_used = set.documents_used;
    out.documents_skipped = set.documents_skipped;
  }
  out.held_out = !tail.texts.empty();
  out.masking = {.token = data::mask_id(tokenizer).value_or(-1), .prefix = int64_t(tokenizer.prefix_ids().size())};
  out.windows_NL = check_windows(out.held_out ? tail : documents, tokenizer, job.max_seq_length);
  return out;
}

}  // namespace swage::pipeline
