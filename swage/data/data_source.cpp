#include "swage/data/data_source.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/data/bridge.h"
#include "swage/data/documents.h"
#include "swage/data/hub/dataset_files.h"
#include "swage/io/file_descriptor.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

struct Registered {
  const char *name, *id, *config, *split, *form;
  const char* first_file = "";
  int64_t first_rows = 0;
  bool joins_rows = false;
  Draw draw = Draw::None;
};

// LLM Compressor's registry (llmcompressor/transformers/data), and optimum's names (optimum/gptq/data.py). Where the
// originals let the user name a configuration, the usual one is taken. c4 has 1024 files of 300 MB: everybody takes the
// first.
constexpr char kFirstC4[] = "en/c4-train.00000-of-01024.json.gz";
constexpr Registered kRegistry[] = {
    {"c4", "allenai/c4", "en", "train", "", kFirstC4},
    {"c4_new", "allenai/c4", "en", "train", "", kFirstC4, 0, false, Draw::DocumentsAndPlaces},
    {"cnn_dailymail", "cnn_dailymail", "3.0.0", "train", "cnn_dailymail"},
    {"evolcodealpaca", "theblackcat102/evol-codealpaca-v1", "", "train", "evolcodealpaca"},
    {"gsm8k", "openai/gsm8k", "main", "train", "gsm8k"},
    {"open_platypus", "garage-bAInd/Open-Platypus", "", "train", "open_platypus"},
    {"perfectblend", "mlabonne/open-perfectblend", "", "train", "perfectblend"},
    {"ultrachat", "HuggingFaceH4/ultrachat_200k", "", "train_sft", "ultrachat_200k"},
    {"ultrachat_200k", "HuggingFaceH4/ultrachat_200k", "", "train_sft", "ultrachat_200k"},
    {"wikitext", "Salesforce/wikitext", "wikitext-2-raw-v1", "train", ""},
    {"wikitext2", "Salesforce/wikitext", "wikitext-2-raw-v1", "train", "", "", 1000, true, Draw::Places},
};

std::string normalized(std::string name) {
  for (char& c : name) c = c == '-' ? '_' : char(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

void refuse_known(const std::string& text, const std::string& name) {
  for (const char* old : {"ptb", "ptb_new"}) {
    SWAGE_CHECK(name != old, Unsupported, text,
                ": this data set is deprecated and no longer offered, as in optimum; use wikitext2 or c4");
  }
  for (const char* other : {"flickr", "flickr30k", "peoples_speech"}) {
    SWAGE_CHECK(name != other, Unsupported, text, ": a data set of images or sound; swage calibrates on text");
  }
  for (const char* kind : {"custom", "json", "csv"})
    SWAGE_CHECK(name != kind, InvalidArgument, text, ": give the file itself (-d FILE)");
}

// "512", "-100", "10%"
RowBound parse_bound(std::string_view text, const std::string& whole) {
  RowBound bound;
  if (text.ends_with('%')) {
    bound.percent = true;
    text.remove_suffix(1);
  }
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bound.value);
  const bool good = error == std::errc() && end == text.data() + text.size() &&
                    (!bound.percent || (bound.value >= -100 && bound.value <= 100));
  SWAGE_CHECK(good, InvalidArgument, whole, ": \"", text,
              "\" bounds no slice; expected rows or percent, as in [:512], [1000:], [10%:20%]");
  return bound;
}

// Takes "[a:b]" off the end.
void parse_slice(std::string& rest, DataSpec& spec) {
  const size_t open = rest.find('[');
  if (open == std::string::npos) return;
  const size_t colon = rest.find(':', open);
  SWAGE_CHECK(rest.ends_with(']') && colon != std::string::npos, InvalidArgument, spec.text,
              ": a slice is written [FROM:TO], as in [:512]");
  const std::string_view inside = std::string_view(rest).substr(open + 1, rest.size() - open - 2);
  const std::string_view from = inside.substr(0, colon - open - 1), to = inside.substr(colon - open);
  if (!from.empty()) spec.from = parse_bound(from, spec.text);
  if (!to.empty()) spec.to = parse_bound(to, spec.text);
  rest.resize(open);
}

bool looks_like_path(const std::string& text) {
  const std::string name = normalized(fs::path(text).filename().string());
  for (const char* end : {".jsonl", ".json", ".parquet", ".txt", ".csv", ".tsv", ".gz", ".arrow"}) {
    if (name.ends_with(end)) return true;
  }
  return text.starts_with("/") || text.starts_with("./") || text.starts_with("../") || text.starts_with("~");
}

// Configuration and split of "CONFIG:SPLIT", "SPLIT" or nothing; which of both a single word is, the files tell later.
void parse_parts(std::string rest, DataSpec& spec) {
  if (rest.empty()) return;
  rest.erase(0, 1);
  const size_t colon = rest.find(':');
  if (colon != std::string::npos) spec.config = rest.substr(0, colon);
  spec.split = colon == std::string::npos ? rest : rest.substr(colon + 1);
  const bool good = !rest.empty() && (colon == std::string::npos || is_safe_path(spec.config)) &&
                    (spec.split.empty() || is_safe_path(spec.split)) &&
                    (colon == std::string::npos || rest.find(':', colon + 1) == std::string::npos);
  SWAGE_CHECK(good, InvalidArgument, spec.text, ": expected NAME:SPLIT or NAME:CONFIG:SPLIT");
}

void register_names(DataSpec& spec, const Registered& known) {
  spec.id = known.id;
  spec.form = known.form;
  spec.default_config = known.config;
  if (spec.split.empty()) spec.split = known.split;
  // LLM Compressor's rule: exactly these, while a slice belongs to the split that is named.
  if (spec.form == "ultrachat_200k" && (spec.split == "train" || spec.split == "test") && !spec.has_slice())
    spec.split += "_sft";
  if (spec.config.empty() || spec.config == known.config)
    spec.first_file = spec.split == "train" ? known.first_file : "";
  spec.first_rows = known.first_rows;
  spec.joins_rows = known.joins_rows;
  spec.draw = known.draw;
}

bool is_there(const std::string& text, DataSpec& spec) {
  std::error_code ignored;
  spec.file = text;
  return fs::exists(text, ignored);
}

// A data set by a short name of the registry, or by its own as org/name. False for other names.
bool name_on_hub(const std::string& name, const std::string& plain, DataSpec& spec) {
  const auto repo = parse_hub_id(name, RepoType::Dataset);
  const auto known = std::find_if(std::begin(kRegistry), std::end(kRegistry),
                                  [&](const Registered& one) { return plain == one.name; });
  if (known == std::end(kRegistry) && (!repo || name.find('/') == std::string::npos)) return false;
  if (repo) spec.revision = repo->revision;
  if (known != std::end(kRegistry)) {
    register_names(spec, *known);
    return true;
  }
  spec.id = repo->id;
  for (const Registered& same : kRegistry) {
    if (spec.id == same.id && spec.form.empty()) spec.form = same.form;
  }
  return true;
}

[[noreturn]] void refuse_unknown(const std::string& text, const std::string& plain) {
  const std::string near = nearest_name(plain, registered_data_sets());
  std::string names;
  for (const std::string& one : registered_data_sets()) names += cat(names.empty() ? "" : ", ", one);
  throw Error(
      ErrorKind::InvalidArgument,
      cat(text,
          ": no such data set: neither a file (.jsonl, .json, .parquet, .txt), nor org/name of the hub, nor one of ",
          names, near.empty() ? "" : cat("; did you mean ", near, "?")));
}

}  // namespace

std::vector<std::string> registered_data_sets() {
  std::vector<std::string> names = {"builtin"};
  for (const Registered& known : kRegistry) names.push_back(known.name);
  return names;
}

DataSpec parse_data_spec(const std::string& text) {
  DataSpec spec;
  spec.text = text;
  if (is_there(text, spec)) return spec;  // a bracket may stand in a file's name
  std::string rest = text;
  parse_slice(rest, spec);
  if (is_there(rest, spec) || looks_like_path(rest)) return spec;
  const size_t colon = std::min(rest.find(':'), rest.size());
  const std::string name = rest.substr(0, colon), plain = normalized(name.substr(0, name.find('@')));
  parse_parts(rest.substr(colon), spec);
  refuse_known(text, plain);
  spec.kind = DataSpec::Kind::Hub;
  if (plain == "builtin") {
    SWAGE_CHECK(colon == rest.size() && name == rest, InvalidArgument, text,
                ": the text that comes with swage has no splits");
    spec.kind = DataSpec::Kind::Builtin;
  } else if (!name_on_hub(name, plain, spec)) {
    refuse_unknown(text, plain);
  }
  return spec;
}

namespace {

std::string sha256_of(const fs::path& file) {
  const io::FileDescriptor in(file, O_RDONLY);
  auto digest = bridge::sha256();
  std::vector<char> piece(size_t{1} << 20);
  const uint64_t size = fs::file_size(file);
  for (uint64_t at = 0; at < size;) {
    const uint64_t count = std::min<uint64_t>(piece.size(), size - at);
    in.read_at(piece.data(), count, at);
    digest->update({reinterpret_cast<const uint8_t*>(piece.data()), size_t(count)});
    at += count;
  }
  return std::string(digest->hex());
}

// Rows FROM to TO of `total` as Python slices: bounds beyond the end are the end.
std::pair<int64_t, int64_t> rows_of(const DataSpec& spec, int64_t total) {
  const auto place = [&](const std::optional<RowBound>& bound, int64_t fallback) {
    if (!bound) return fallback;
    int64_t at = bound->percent ? int64_t(std::llround(double(bound->value) / 100 * double(total))) : bound->value;
    if (at < 0) at += total;
    return std::clamp<int64_t>(at, 0, total);
  };
  const int64_t from = place(spec.from, 0), to = place(spec.to, total);
  SWAGE_CHECK(from < to, InvalidArgument, spec.text, ": the slice holds no rows; there are ", total);
  return {from, to};
}

// Whether the slice can be cut without knowing how many rows there are.
bool counts_from_front(const DataSpec& spec) {
  const auto from_front = [](const std::optional<RowBound>& bound) {
    return !bound || (!bound->percent && bound->value >= 0);
  };
  return from_front(spec.from) && from_front(spec.to);
}

void set_slice(const DataSpec& spec, const std::function<int64_t()>& total, DatasetOptions& options) {
  if (spec.first_rows > 0 && !spec.has_slice()) options.last_row = spec.first_rows;
  if (!spec.has_slice()) return;
  if (counts_from_front(spec)) {
    options.first_row = spec.from ? spec.from->value : 0;
    options.last_row = spec.to ? spec.to->value : -1;
    SWAGE_CHECK(options.last_row < 0 || options.first_row < options.last_row, InvalidArgument, spec.text,
                ": the slice holds no rows");
    return;
  }
  std::tie(options.first_row, options.last_row) = rows_of(spec, total());
}

Documents builtin(const DataRequest& request, const Tokenizer& tokenizer, const DatasetOptions& options) {
  const rust::Slice<const uint8_t> bytes = bridge::builtin_text(request.held_out);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  DocumentBuilder builder(tokenizer, options);
  const std::string name = request.held_out ? "heldout.jsonl" : "calibration.jsonl";
  read_json_rows("builtin/" + name, text, builder);
  Documents out = builder.take();
  auto digest = bridge::sha256();
  digest->update(bytes);
  out.files.push_back({name, std::string(digest->hex())});
  return out;
}

Documents from_hub(const DataSpec& spec, const DataRequest& request, const Tokenizer& tokenizer, const HubOptions& hub,
                   DatasetOptions options, const Context& context) {
  DatasetFiles files(spec, hub, context);
  const auto total = [&] {
    int64_t rows = 0;
    for (size_t i = 0; i < files.count(); ++i) rows += count_rows(files.fetch(i));
    return rows;
  };
  set_slice(spec, total, options);
  if (!spec.has_slice() && spec.draw == Draw::None) options.enough_bytes = request.enough_bytes;
  DocumentBuilder builder(tokenizer, options);
  std::vector<DataFile> used;
  for (size_t i = 0; i < files.count() && !builder.full(); ++i) {
    const fs::path file = files.fetch(i);
    add_documents(file, options, builder);
    used.push_back({files.name(i), sha256_of(file)});
  }
  Documents out = builder.take();
  out.files = std::move(used);
  out.commit = files.commit();
  out.draw = spec.draw;
  return out;
}

}  // namespace

Documents load_documents(const DataRequest& request, const Tokenizer& tokenizer, const HubOptions& hub,
                         const Context& context) {
  const DataSpec spec = parse_data_spec(request.name);
  DatasetOptions options;
  options.text_column = request.text_column;
  options.form = spec.form;
  options.joins_rows = spec.joins_rows;
  if (spec.kind == DataSpec::Kind::Builtin) return builtin(request, tokenizer, options);
  if (spec.kind == DataSpec::Kind::Hub) return from_hub(spec, request, tokenizer, hub, options, context);
  if (fs::exists(spec.file)) set_slice(spec, [&] { return count_rows(spec.file); }, options);
  Documents out = read_documents(spec.file, tokenizer, options);
  out.files.push_back({fs::path(spec.file).filename().string(), sha256_of(spec.file)});
  return out;
}

}  // namespace swage::data
