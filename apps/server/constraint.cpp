#include "apps/server/constraint.h"

namespace swage::server {
namespace {

using Kind = runtime::Grammar::Kind;

void constrain(runtime::Request& request, Kind kind, const std::string& text, const std::string& field) {
  if (request.grammar.kind != Kind::None) throw bad_field(field, "the answer's form is given twice");
  request.grammar = {kind, text};
}

const Json& schema_in(const Json& format, const std::string& field) {
  const Json* inner = format.find("json_schema");
  const Json* schema = inner == nullptr ? format.find("schema") : inner->find("schema");
  if (schema == nullptr || !(schema->is_object() || schema->is_bool()))
    throw bad_field(field + ".json_schema", "expected {\"name\": ..., \"schema\": {...}}");
  return *schema;
}

void read_guided(Fields& fields, runtime::Request& request) {
  if (const Json* schema = fields.find("guided_json")) {
    const bool is_text = schema->is_string();
    constrain(request, Kind::JsonSchema, is_text ? schema->as_string() : schema->dump(), "guided_json");
  }
  if (const std::string regex = fields.text("guided_regex", ""); !regex.empty())
    constrain(request, Kind::Regex, regex, "guided_regex");
  if (const std::string grammar = fields.text("guided_grammar", ""); !grammar.empty())
    constrain(request, Kind::Gbnf, grammar, "guided_grammar");
  if (const Json* choice = fields.find("guided_choice")) {
    if (!choice->is_array() || choice->as_array().empty())
      throw fields.wrong("guided_choice", "expected a list of texts");
    std::string regex;
    for (const std::string& one : fields.texts("guided_choice", 1000)) {
      std::string escaped;
      for (const char c : one) {
        if (std::string_view("\\^$.|?*+()[]{}/").find(c) != std::string_view::npos) escaped += '\\';
        escaped += c;
      }
      regex += (regex.empty() ? "" : "|") + escaped;
    }
    constrain(request, Kind::Regex, cat("(", regex, ")"), "guided_choice");
  }
}

// {"type": "object", "properties": {"name": {"const": NAME}, "arguments": SCHEMA}, ...}
Json call_schema(const Json& function) {
  Json name = Json::object();
  name.set("const", function.at("name"));
  Json properties = Json::object();
  properties.set("name", std::move(name));
  const Json* parameters = function.find("parameters");
  Json any = Json::object();
  any.set("type", "object");
  properties.set("arguments", parameters == nullptr || parameters->is_null() ? any : *parameters);
  Json required = Json::array();
  required.push_back("name");
  required.push_back("arguments");
  Json out = Json::object();
  out.set("type", "object");
  out.set("properties", std::move(properties));
  out.set("required", std::move(required));
  out.set("additionalProperties", false);
  return out;
}

}  // namespace

void read_response_format(Fields& fields, runtime::Request& request) {
  read_guided(fields, request);
  const Json* format = fields.find("response_format");
  if (format == nullptr) return;
  Fields inner(*format, "response_format.");
  const std::string type = inner.text("type", "");
  if (type == "text") return;
  if (type == "json_object") return constrain(request, Kind::JsonObject, "", "response_format");
  if (type != "json_schema")
    throw inner.wrong("type", cat("\"", type.substr(0, 40), "\": expected text, json_object or json_schema"));
  constrain(request, Kind::JsonSchema, schema_in(*format, "response_format").dump(), "response_format");
}

void read_tgi_grammar(Fields& fields, runtime::Request& request) {
  const Json* grammar = fields.find("grammar");
  if (grammar == nullptr) return;
  Fields inner(*grammar, "grammar.");
  const std::string type = inner.text("type", "");
  const Json* value = inner.find("value");
  if (value == nullptr) throw inner.wrong("value", "is missing");
  if (type == "regex") return constrain(request, Kind::Regex, inner.text("value", ""), "grammar");
  if (type != "json" && type != "json_schema")
    throw inner.wrong("type", cat("\"", type.substr(0, 40), "\": expected json, json_schema or regex"));
  const Json* wrapped = value->find("schema");
  const Json& schema = type == "json_schema" && wrapped != nullptr ? *wrapped : *value;
  constrain(request, Kind::JsonSchema, schema.is_string() ? schema.as_string() : schema.dump(), "grammar");
}

void read_llama_grammar(Fields& fields, runtime::Request& request) {
  if (const Json* schema = fields.find("json_schema"))
    constrain(request, Kind::JsonSchema, schema->dump(), "json_schema");
  if (const std::string grammar = fields.text("grammar", ""); !grammar.empty())
    constrain(request, Kind::Gbnf, grammar, "grammar");
}

void constrain_to_arguments(const Json& tools, const std::string& name, runtime::Request& request) {
  for (const Json& tool : tools.as_array()) {
    const Json& function = tool.at("function");
    if (function.at("name").as_string() != name) continue;
    const Json* parameters = function.find("parameters");
    const bool any = parameters == nullptr || parameters->is_null();
    constrain(request, any ? Kind::JsonObject : Kind::JsonSchema, any ? "" : parameters->dump(), "tool_choice");
  }
}

void constrain_to_calls(const Json& tools, bool several, runtime::Request& request) {
  Json any = Json::array();
  for (const Json& tool : tools.as_array()) any.push_back(call_schema(tool.at("function")));
  Json items = Json::object();
  items.set("anyOf", std::move(any));
  Json schema = Json::object();
  schema.set("type", "array");
  schema.set("items", std::move(items));
  schema.set("minItems", 1);
  schema.set("maxItems", several ? 8 : 1);
  constrain(request, Kind::JsonSchema, schema.dump(), "tool_choice");
}

}  // namespace swage::server
