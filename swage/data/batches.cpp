// Rows and windows of token ids; declared in dataset.h.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <numeric>

#include "swage/base/error.h"
#include "swage/data/dataset.h"
#include "swage/data/drawn_windows.h"

namespace swage::data {
namespace {

constexpr size_t kChunkBytes = size_t{4} << 20;  // text tokenized at once: bounds memory, keeps all threads busy
constexpr size_t kBytesPerToken = 4;             // typical of English; a guess that decides chunk sizes only
constexpr size_t kLongText = size_t{256} << 10;  // below it a text is tokenized whole, whatever is asked of it
constexpr size_t kMostBytesPerToken = 32;  // of a text whose beginning is tokenized first; more only costs a second try
// Where a text is cut, its last tokens may differ from those of the whole text; so many are not trusted.
constexpr size_t kDoubtful = 64;

// The first bytes of a text, not within a character.
std::string beginning(const std::string& text, size_t bytes) {
  while (bytes > 0 && bytes < text.size() && (uint8_t(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

// splitmix64 (Steele, Lea, Flood 2014): our own, so that a seed means the same order everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  // Uniform in [0, bound): Lemire's multiplication with rejection, arXiv:1805.10941.
  uint64_t below(uint64_t bound) {
    const uint64_t reject = -bound % bound;
    while (true) {
      const unsigned __int128 product = static_cast<unsigned __int128>(next()) * bound;
      if (uint64_t(product) >= reject) return uint64_t(product >> 64);
    }
  }

 private:
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

std::vector<size_t> document_order(size_t count, const BatchOptions& options) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  if (!options.shuffle) return order;
  Random random(options.seed);
  for (size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

// Documents as token ids, in order, tokenized a chunk at a time: what nobody asks for is never tokenized.
class TokenizedDocuments {
 public:
  TokenizedDocuments(const Documents& documents, const Tokenizer& tokenizer, std::vector<size_t> order)
      : documents_(documents),
        tokenizer_(tokenizer),
        order_(std::move(order)) {}

  // The next document or nullptr. `documents_wanted` and `tokens_wanted` (at least 1 each): how much the caller expects
  // to take from now on; they size the next chunk. Of each document its first `useful` tokens count; a very long one
  // may come without those behind them.
  const std::vector<int64_t>* next(size_t documents_wanted, size_t tokens_wanted, size_t useful) {
    if (at_ == chunk_.size()) {
      if (read_ == order_.size()) return nullptr;
      fill(documents_wanted, tokens_wanted, useful);
    }
    return &chunk_[at_++];
  }

 private:
  void fill(size_t documents_wanted, size_t tokens_wanted, size_t useful) {
    const size_t bytes_wanted = std::min(kChunkBytes / kBytesPerToken, tokens_wanted) * kBytesPerToken;
    const size_t longest = std::max(kLongText, useful * kMostBytesPerToken);
    std::vector<std::string> texts;
    const size_t first = read_;
    size_t bytes = 0;
    while (read_ < order_.size() && texts.size() < documents_wanted && (texts.empty() || bytes < bytes_wanted)) {
      texts.push_back(beginning(documents_.texts[order_[read_++]], longest));
      bytes += texts.back().size();
    }
    chunk_ = tokenizer_.encode_batch(texts, !documents_.formatted);
    for (size_t i = 0; i < chunk_.size(); ++i) {
      const std::string& whole = documents_.texts[order_[first + i]];
      if (texts[i].size() == whole.size()) continue;
      if (chunk_[i].size() >= useful + kDoubtful) {
        chunk_[i].resize(chunk_[i].size() - kDoubtful);
      } else {
        chunk_[i] = tokenizer_.encode(whole, !documents_.formatted);
      }
    }
    at_ = 0;
  }

  const Documents& documents_;
  const Tokenizer& tokenizer_;
  std::vector<size_t> order_;
  size_t read_ = 0, at_ = 0;
  std::vector<std::vector<int64_t>> chunk_;
};

at::Tensor as_rows(const std::vector<int64_t>& ids, int64_t columns) {
  at::Tensor rows_NL = at::empty({int64_t(ids.size()) / columns, columns}, at::kLong);
  std::copy_n(ids.begin(), rows_NL.numel(), rows_NL.mutable_data_ptr<int64_t>());
  return rows_NL;
}

CalibrationSet one_document_a_row(TokenizedDocuments& documents, const BatchOptions& options) {
  const auto wanted = size_t(options.num_samples), length = size_t(options.max_seq_length);
  CalibrationSet set;
  std::vector<int64_t> ids;
  size_t longest = 0;
  while (ids.size() < wanted * length) {
    const size_t rows_wanted = wanted - ids.size() / length;
    const auto* document = documents.next(std::max<size_t>(rows_wanted, 16), kChunkBytes, length);
    if (document == nullptr) break;
    longest = std::max(longest, document->size());
    if (document->size() < length) {
      ++set.documents_skipped;
      continue;
    }
    ids.insert(ids.end(), document->begin(), document->begin() + ptrdiff_t(length));
    ++set.documents_used;
  }
  SWAGE_CHECK(!ids.empty(), InvalidArgument, "none of the ", set.documents_skipped, " documents has the ", length,
              " tokens of one row (the longest has ", longest, "); use a smaller --max-seq-length, or packing");
  set.ids_NL = as_rows(ids, int64_t(length));
  return set;
}

// Documents end to end. A row that would begin inside a document begins with `prefix` (a BOS), as all text that the
// model ever sees does.
CalibrationSet packed_rows(TokenizedDocuments& documents, const std::vector<int64_t>& prefix,
                           const BatchOptions& options) {
  const auto wanted = size_t(options.num_samples), length = size_t(options.max_seq_length);
  SWAGE_CHECK(prefix.size() < length, InvalidArgument, "a row of ", length, " tokens has no room for text");
  CalibrationSet set;
  std::vector<int64_t> ids;
  while (ids.size() < wanted * length) {
    const auto* document = documents.next(SIZE_MAX, wanted * length - ids.size(), wanted * length - ids.size());
    if (document == nullptr) break;
    ++set.documents_used;
    for (size_t i = 0; i < document->size() && ids.size() < wanted * length;) {
      if (i > 0 && ids.size() % length == 0) ids.insert(ids.end(), prefix.begin(), prefix.end());
      const size_t count = std::min(document->size() - i, length - ids.size() % length);
      ids.insert(ids.end(), document->begin() + ptrdiff_t(i), document->begin() + ptrdiff_t(i + count));
      i += count;
    }
  }
  SWAGE_CHECK(ids.size() >= length, InvalidArgument, "the text holds ", ids.size(), " tokens, fewer than the ", length,
              " of one row; use a smaller --max-seq-length or more text");
  set.ids_NL = as_rows(ids, int64_t(length));
  return set;
}

// Tokens of the documents joined by a blank line: at least `wanted` of them if there are as many, all for wanted = 0.
std::vector<int64_t> joined_tokens(const Documents& documents, const Tokenizer& tokenizer, size_t wanted) {
  size_t bytes_wanted = wanted == 0 ? SIZE_MAX : (wanted + kDoubtful) * kBytesPerToken * 3 / 2;
  std::string text;
  size_t next = 0;
  while (true) {
    for (; next < documents.texts.size() && text.size() < bytes_wanted; ++next) {
      if (next > 0) text += "\n\n";
      text += documents.texts[next];
    }
    const bool whole = text.size() <= std::max(bytes_wanted, kLongText);
    std::vector<int64_t> ids = tokenizer.encode(whole ? text : beginning(text, std::max(bytes_wanted, kLongText)),
                                                /*add_special_tokens=*/false);
    if ((whole && next == documents.texts.size()) || ids.size() >= wanted + kDoubtful) return ids;
    bytes_wanted = std::max(bytes_wanted, kLongText) * 2;
  }
}

}  // namespace

CalibrationSet make_calibration_set(const Documents& documents, const Tokenizer& tokenizer,
                                    const BatchOptions& options) {
  constexpr int64_t kMost = int64_t{1} << 31;  // keeps rows x tokens within 64 bits
  SWAGE_CHECK(options.num_samples > 0 && options.num_samples < kMost, InvalidArgument, "num_calibration_samples ",
              options.num_samples, ": expected a number from 1 to ", kMost - 1);
  SWAGE_CHECK(options.max_seq_length > 0 && options.max_seq_length < kMost, InvalidArgument, "max_seq_length ",
              options.max_seq_length, ": expected a number from 1 to ", kMost - 1);
  if (documents.draw != Draw::None && options.pack && !options.shuffle)
    return drawn_windows(documents, tokenizer, options);
  TokenizedDocuments tokenized(documents, tokenizer, document_order(documents.texts.size(), options));
  if (!options.pack) return one_document_a_row(tokenized, options);
  const auto prefix = documents.formatted ? std::vector<int64_t>() : tokenizer.prefix_ids();
  return packed_rows(tokenized, prefix, options);
}

at::Tensor make_windows(const Documents& documents, const Tokenizer& tokenizer, const WindowOptions& options) {
  const std::vector<int64_t> prefix = tokenizer.prefix_ids();
  const int64_t step = options.window - int64_t(prefix.size());
  SWAGE_CHECK(step > 0 && options.window > 1 && options.max_windows >= 0, InvalidArgument, "windows of ",
              options.window, " tokens hold no text");
  const std::vector<int64_t> ids = joined_tokens(documents, tokenizer, size_t(options.max_windows * step));
  int64_t windows = int64_t(ids.size()) / step;
  SWAGE_CHECK(windows > 0, InvalidArgument, "the text holds ", ids.size(), " tokens, fewer than the ", step,
              " of one window");
  if (options.max_windows > 0) windows = std::min(windows, options.max_windows);
  std::vector<int64_t> rows;
  rows.reserve(size_t(windows * options.window));
  for (int64_t w = 0; w < windows; ++w) {
    rows.insert(rows.end(), prefix.begin(), prefix.end());
    rows.insert(rows.end(), ids.begin() + w * step, ids.begin() + (w + 1) * step);
  }
  return as_rows(rows, options.window);
}

}  // namespace swage::data
