#include "apps/server/prompts.h"

#include "apps/server/sampling.h"

namespace swage::server {
namespace {

std::vector<int64_t> ids_of(const Json& list, const Fields& fields, const std::string& name) {
  std::vector<int64_t> ids;
  for (const Json& id : list.as_array()) {
    if (!id.is_int()) throw fields.wrong(name, "a list of token ids holds something else");
    ids.push_back(id.as_int());
  }
  return ids;
}

Prompt prompt_of(const Json& value, const Fields& fields, const std::string& name, const Service& service,
                 bool needs_text) {
  if (value.is_string()) return {service.engine.encode(value.as_string(), true), value.as_string()};
  if (!value.is_array()) throw fields.wrong(name, "expected text or token ids");
  Prompt out{ids_of(value, fields, name), {}};
  for (const int64_t id : out.ids) {
    if (id < 0 || id >= service.model.vocabulary)
      throw fields.wrong(name, cat("token id ", id, " is outside the vocabulary of ", service.model.vocabulary));
  }
  if (needs_text) out.text = service.engine.decode(out.ids, false);
  return out;
}

}  // namespace

std::vector<Prompt> read_prompts(Fields& fields, const std::string& name, const Service& service, bool needs_text) {
  const Json* value = fields.find(name);
  if (value == nullptr) throw fields.wrong(name, "is missing");
  const bool is_list = value->is_array() && !value->as_array().empty() && !value->as_array()[0].is_int();
  std::vector<Prompt> out;
  if (!is_list) {
    out.push_back(prompt_of(*value, fields, name, service, needs_text));
  } else {
    if (int64_t(value->as_array().size()) > kMostPrompts)
      throw fields.wrong(name, cat("at most ", kMostPrompts, " prompts are taken"));
    for (const Json& one : value->as_array()) out.push_back(prompt_of(one, fields, name, service, needs_text));
  }
  for (const Prompt& prompt : out) check_prompt(prompt.ids, service);
  return out;
}

}  // namespace swage::server
