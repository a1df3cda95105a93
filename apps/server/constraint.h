// What an answer has to be: JSON, an instance of a schema, a regular expression's match, a call of a tool.
#pragma once
#include <string>

#include "apps/server/fields.h"

namespace swage::server {

// From "response_format" {"type": "text" | "json_object" | "json_schema", "json_schema": {"schema"}} and vLLM's
// "guided_json", "guided_regex", "guided_choice", "guided_grammar". At most one.
void read_response_format(Fields& fields, runtime::Request& request);
// TGI's "grammar": {"type": "json" | "json_schema" | "regex", "value"}.
void read_tgi_grammar(Fields& fields, runtime::Request& request);
// llama.cpp's "json_schema" and "grammar".
void read_llama_grammar(Fields& fields, runtime::Request& request);

// The arguments of a tool, or a list of one call or more of any of them: [{"name", "arguments"}].
void constrain_to_arguments(const Json& tools, const std::string& name, runtime::Request& request);
void constrain_to_calls(const Json& tools, bool several, runtime::Request& request);

}  // namespace swage::server
