#include "swage/data/tokenizer.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "swage/base/file.h"
#include "swage/base/utf8.h"
#include "swage/data/bridge.h"
#include "swage/data/documents.h"
#include "swage/data/tokenizer_files.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

std::optional<Json> read_optional_json(const fs::path& file) {
  return is_there(file) ? std::optional(read_json_file(file)) : std::nullopt;
}

// eos_token_id is an id or a list of ids.
std::vector<int64_t> eos_ids(const std::optional<Json>& config, const fs::path& file) {
  const Json* value = config ? config->find("eos_token_id") : nullptr;
  if (value == nullptr || value->is_null()) return {};
  if (value->is_int()) return {value->as_int()};
  SWAGE_CHECK(value->is_array(), CorruptData, file.string(), ": eos_token_id must be an integer or a list of them");
  std::vector<int64_t> ids;
  for (const Json& id : value->as_array()) {
    SWAGE_CHECK(id.is_int(), CorruptData, file.string(), ": eos_token_id must be an integer or a list of them");
    ids.push_back(id.as_int());
  }
  return ids;
}

rust::Box<bridge::Tokenizer> load(const TokenizerFiles& files) {
  return call_bridge(ErrorKind::CorruptData, files.source, [&] {
    return bridge::tokenizer_from_json({reinterpret_cast<const uint8_t*>(files.json.data()), files.json.size()},
                                       as_str(files.changes));
  });
}

}  // namespace

struct Tokenizer::State {
  std::string file;
  rust::Box<bridge::Tokenizer> inner;
  Json special_tokens = Json::object();
  std::vector<int64_t> end_ids;
  std::map<std::string, TemplateSource> templates;
  // Compiled on first use: a template that cannot be read must not stop work that needs none.
  std::mutex template_mutex;
  std::map<std::string, ChatTemplate> compiled;

  // The template for a conversation: with tools the one made for them, as in transformers.
  std::string template_name(bool with_tools) const {
    if (with_tools && templates.contains("tool_use")) return "tool_use";
    std::vector<std::string> names;
    for (const auto& [name, source] : templates) names.push_back(name);
    SWAGE_CHECK(templates.contains("default"), InvalidArgument, file,
                ": the model has several chat templates and none is called \"default\": ", quoted_list(names));
    return "default";
  }

  State(std::string file_name, rust::Box<bridge::Tokenizer> loaded)
      : file(std::move(file_name)),
        inner(std::move(loaded)) {}
};

Tokenizer::Tokenizer(const fs::path& model_folder) {
  TokenizerFiles files = read_tokenizer_files(model_folder);
  state_ = std::make_unique<State>(files.source, load(files));
  state_->special_tokens = std::move(files.special_tokens);
  state_->templates = std::move(files.templates);

  const fs::path generation = model_folder / "generation_config.json", config = model_folder / "config.json";
  std::vector<int64_t> ids = eos_ids(read_optional_json(generation), generation);
  if (ids.empty()) ids = eos_ids(read_optional_json(config), config);
  if (const Json* eos = state_->special_tokens.find("eos_token")) {
    const int64_t id = state_->inner->token_id(as_str(eos->as_string()));
    if (id >= 0) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  state_->end_ids = std::move(ids);
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<int64_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  const size_t valid = valid_utf8_prefix(text);
  SWAGE_CHECK(valid == text.size(), InvalidArgument, "text to tokenize is not UTF-8 at byte ", valid);
  const rust::Vec<uint32_t> ids = call_bridge(ErrorKind::InvalidArgument, state_->file,
                                              [&] { return state_->inner->encode(as_str(text), add_special_tokens); });
  return {ids.begin(), ids.end()};
}

std::vector<std::vector<int64_t>> Tokenizer::encode_batch(const std::vector<std::string>& texts,
                                                          bool add_special_tokens) const {
  const bridge::EncodedBatch batch = call_bridge(
      ErrorKind::InvalidArgument, state_->file, [&] { return state_->inner->encode_batch(texts, add_special_tokens); });
  std::vector<std::vector<int64_t>> ids;
  ids.reserve(batch.ends.size());
  size_t begin = 0;
  for (const size_t end : batch.ends) {
    ids.emplace_back(batch.ids.begin() + ptrdiff_t(begin), batch.ids.begin() + ptrdiff_t(end));
    begin = end;
  }
  return ids;
}

std::string Tokenizer::decode(const std::vector<int64_t>& ids, bool skip_special_tokens) const {
  std::vector<uint32_t> narrow;
  narrow.reserve(ids.size());
  for (const int64_t id : ids) {
    SWAGE_CHECK(id >= 0 && id <= std::numeric_limits<uint32_t>::max(), InvalidArgument, "token id ", id,
                " is out of range");
    narrow.push_back(uint32_t(id));
  }
  const rust::String text = call_bridge(ErrorKind::InvalidArgument, state_->file, [&] {
    return state_->inner->decode({narrow.data(), narrow.size()}, skip_special_tokens);
  });
  return std::string(text);
}

const bridge::Tokenizer& Tokenizer::inner() const { return *state_->inner; }

int64_t Tokenizer::vocabulary_size() const { return int64_t(state_->inner->vocabulary_size()); }

bool Tokenizer::has_chat_template() const { return !state_->templates.empty(); }

std::string Tokenizer::apply_chat_template(const Json& messages, const ChatOptions& options) const {
  SWAGE_CHECK(has_chat_template(), InvalidArgument, fs::path(state_->file).parent_path().string(),
              ": the model has no chat template; use a text column");
  Json variables = state_->special_tokens;
  if (options.variables.is_object()) {
    for (const auto& [name, value] : options.variables.as_object()) variables.set(name, value);
  }
  const Json* tools = variables.find("tools");
  const std::string name = state_->template_name(tools != nullptr && !tools->is_null());
  const ChatTemplate* chat_template = nullptr;
  {
    const std::lock_guard lock(state_->template_mutex);
    auto found = state_->compiled.find(name);
    if (found == state_->compiled.end()) {
      const TemplateSource& source = state_->templates.at(name);
      found = state_->compiled.emplace(name, ChatTemplate(source.text, source.name)).first;
    }
    chat_template = &found->second;
  }
  return chat_template->render(messages, variables, options);
}

std::string Tokenizer::apply_chat_template(const Json& messages, bool add_generation_prompt) const {
  ChatOptions options;
  options.add_generation_prompt = add_generation_prompt;
  return apply_chat_template(messages, options);
}

bool Tokenizer::chat_template_mentions(std::string_view name) const {
  if (name.empty() || !has_chat_template()) return false;
  const auto in_word = [](char c) { return c == '_' || std::isalnum(static_cast<unsigned char>(c)); };
  for (const auto& [template_name, source] : state_->templates) {
    const std::string& text = source.text;
    for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
      const size_t end = at + name.size();
      if ((at == 0 || !in_word(text[at - 1])) && (end == text.size() || !in_word(text[end]))) return true;
    }
  }
  return false;
}

const Json& Tokenizer::special_tokens() const { return state_->special_tokens; }

std::vector<int64_t> Tokenizer::prefix_ids() const {
  const std::vector<int64_t> plain = encode("a", false), with_special = encode("a", true);
  const auto start = std::search(with_special.begin(), with_special.end(), plain.begin(), plain.end());
  if (plain.empty() || start == with_special.end()) return {};
  return {with_special.begin(), start};
}

std::vector<int64_t> Tokenizer::end_ids() const { return state_->end_ids; }

std::string TextStream::push(int64_t id) {
  ids_.push_back(id);
  const std::string text = tokenizer_.decode(ids_, skip_special_tokens_);
  // U+FFFD at the end: a character still lacks bytes.
  if (text.size() <= shown_.size() || text.ends_with("\xEF\xBF\xBD")) return {};
  std::string piece = text.substr(shown_.size());
  // Decoding depends on the neighbour before (leading spaces), so the tokens of the last piece stay as context.
  ids_.erase(ids_.begin(), ids_.begin() + ptrdiff_t(shown_ids_));
  shown_ids_ = ids_.size();
  shown_ = tokenizer_.decode(ids_, skip_special_tokens_);
  return piece;
}

std::string TextStream::finish() {
  const std::string text = tokenizer_.decode(ids_, skip_special_tokens_);
  std::string rest = text.size() > shown_.size() ? text.substr(shown_.size()) : std::string();
  ids_.clear();
  shown_.clear();
  shown_ids_ = 0;
  return rest;
}

}  // namespace swage::data
