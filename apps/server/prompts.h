// Prompts as text or token ids, one or several.
#pragma once
#include "apps/server/fields.h"
#include "apps/server/service.h"

namespace swage::server {

constexpr int64_t kMostPrompts = 128;  // of a request

struct Prompt {
  std::vector<int64_t> ids;
  std::string text;
};

// Of the field `name`: a string, token ids, or a list of either. `needs_text`: of ids too.
std::vector<Prompt> read_prompts(Fields& fields, const std::string& name, const Service& service, bool needs_text);

}  // namespace swage::server
