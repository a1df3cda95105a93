#include "apps/server/logprobs.h"

#include <algorithm>
#include <cmath>

namespace swage::server {
namespace {

constexpr double kLeast = -9999;  // for a probability of 0, which JSON cannot say: OpenAI's number

Json number(double logprob) { return std::isfinite(logprob) ? logprob : kLeast; }

Json entry(const std::string& text, double logprob) {
  Json bytes = Json::array();
  for (const char c : text) bytes.push_back(int(static_cast<unsigned char>(c)));
  Json out = Json::object();
  out.set("token", text);
  out.set("logprob", number(logprob));
  out.set("bytes", std::move(bytes));
  return out;
}

Json top_of(const ShownToken& shown, TokenTexts& texts) {
  Json out = Json::object();
  for (const auto& [id, logprob] : shown.token->top) {
    const std::string text = id == shown.token->id ? shown.text : texts.of(id);
    if (out.find(text) == nullptr) out.set(text, number(logprob));
  }
  out.set(shown.text, number(shown.token->logprob));
  return out;
}

}  // namespace

int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::vector<ShownToken> shown_tokens(const Choice& choice, size_t first, std::optional<runtime::Finish> ended) {
  std::vector<ShownToken> out;
  size_t at = 0;
  for (size_t i = 0; i < choice.tokens.size(); ++i) {
    const runtime::TokenInfo& token = choice.tokens[i];
    const bool is_end = ended == runtime::Finish::End && i + 1 == choice.tokens.size();
    const bool is_behind = ended == runtime::Finish::Stop && at >= choice.text.size();
    at += token.text.size();
    if (i >= first && !is_end && !is_behind) out.push_back({&token, token.text});
  }
  return out;
}

std::vector<ShownToken> shown_prompt(const std::vector<runtime::TokenInfo>& prompt,
                                     const std::vector<std::string>& pieces) {
  std::vector<ShownToken> out;
  for (size_t i = 0; i < prompt.size(); ++i)
    out.push_back({&prompt[i], i < pieces.size() ? pieces[i] : std::string(), i > 0});
  return out;
}

Json completion_logprobs(const std::vector<ShownToken>& tokens, TokenTexts& texts, int64_t& offset) {
  Json names = Json::array(), chosen = Json::array(), top = Json::array(), offsets = Json::array();
  for (const ShownToken& shown : tokens) {
    names.push_back(shown.text);
    chosen.push_back(shown.has_logprob ? number(shown.token->logprob) : Json());
    top.push_back(shown.has_logprob ? top_of(shown, texts) : Json());
    offsets.push_back(offset);
    offset += characters(shown.text);
  }
  Json out = Json::object();
  out.set("tokens", std::move(names));
  out.set("token_logprobs", std::move(chosen));
  out.set("top_logprobs", std::move(top));
  out.set("text_offset", std::move(offsets));
  return out;
}

Json chat_logprobs(const std::vector<ShownToken>& tokens, TokenTexts& texts) {
  Json content = Json::array();
  for (const ShownToken& shown : tokens) {
    Json top = Json::array();
    for (const auto& [id, logprob] : shown.token->top)
      top.push_back(entry(id == shown.token->id ? shown.text : texts.of(id), logprob));
    Json one = entry(shown.text, shown.token->logprob);
    one.set("top_logprobs", std::move(top));
    content.push_back(std::move(one));
  }
  Json out = Json::object();
  out.set("content", std::move(content));
  return out;
}

}  // namespace swage::server
