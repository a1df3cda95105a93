// Probabilities of tokens in the two shapes that OpenAI's routes have.
#pragma once
#include "apps/server/answer.h"

namespace swage::server {

// A token as it is shown: the end token and what lies behind a stop string are not.
struct ShownToken {
  const runtime::TokenInfo* token;
  std::string text;
  bool has_logprob = true;  // a prompt's first token has none
};
// Of a choice, from its `first` token on. `ended`: how, if it has.
std::vector<ShownToken> shown_tokens(const Choice& choice, size_t first, std::optional<runtime::Finish> ended);
// Of a prompt that was scored; `pieces`: its tokens' texts.
std::vector<ShownToken> shown_prompt(const std::vector<runtime::TokenInfo>& prompt,
                                     const std::vector<std::string>& pieces);

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}; `offset`: characters before the first token, counted on.
Json completion_logprobs(const std::vector<ShownToken>& tokens, TokenTexts& texts, int64_t& offset);
// {"content": [{"token", "logprob", "bytes", "top_logprobs"}]}
Json chat_logprobs(const std::vector<ShownToken>& tokens, TokenTexts& texts);

// Characters of a UTF-8 text.
int64_t characters(std::string_view text);

}  // namespace swage::server
