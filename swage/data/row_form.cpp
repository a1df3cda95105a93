#include "swage/data/row_form.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "swage/base/error.h"

namespace swage::data {

namespace {

using Kind = RowForm::Kind;
using Names = std::vector<std::string>;

bool has(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::string_view kInput =
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that "
    "appropriately completes the request.\n\n### Instruction:\n";
constexpr std::string_view kNoInput =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### "
    "Instruction:\n";
constexpr std::string_view kProgram =
    "Below is an instruction that describes a programming task. Write a program that appropriately completes the "
    "request.\n\n"
    "### Instruction:\n";
constexpr std::string_view kResponse = "\n\n### Response:\n";

struct Named {
  std::string_view name;
  RowForm form;
};

const std::vector<Named>& named_forms() {
  static const std::vector<Named> forms = {
      {"open_platypus", {Kind::OpenPlatypus, {"instruction"}, {"input", "output"}}},
      {"ultrachat_200k", {Kind::UltraChat, {"messages"}, {}}},
      {"gsm8k", {Kind::Gsm8k, {"question"}, {"answer"}}},
      {"cnn_dailymail", {Kind::CnnDailyMail, {"article", "highlights"}, {}}},
      {"evolcodealpaca", {Kind::EvolCodeAlpaca, {"instruction"}, {"output"}}},
      {"perfectblend", {Kind::PerfectBlend, {"conversations"}, {}}},
  };
  return forms;
}

// Pairs of columns that mean a question and its answer, likelier ones first.
struct Pair {
  Kind kind;
  const char *question, *answer;
};
constexpr Pair kPairs[] = {
    {Kind::Pair, "prompt", "response"},       {Kind::Continuation, "prompt", "completion"},
    {Kind::Pair, "prompt", "output"},         {Kind::Pair, "prompt", "answer"},
    {Kind::Alpaca, "instruction", "output"},  {Kind::Alpaca, "instruction", "response"},
    {Kind::Alpaca, "instruction", "answer"},  {Kind::Question, "question", "answer"},
    {Kind::Question, "question", "response"}, {Kind::Pair, "query", "response"},
    {Kind::Pair, "query", "answer"},          {Kind::Pair, "input", "output"},
    {Kind::Question, "problem", "solution"},  {Kind::Pair, "user", "assistant"},
};

// Roles as other tools write them.
std::string role_of(const std::string& from) {
  static constexpr std::pair<const char*, const char*> kRoles[] = {
      {"human", "user"},     {"gpt", "assistant"},    {"chatgpt", "assistant"},
      {"bing", "assistant"}, {"bard", "assistant"},   {"model", "assistant"},
      {"bot", "assistant"},  {"observation", "tool"}, {"function_response", "tool"},
      {"prompter", "user"}};
  for (const auto& [known, role] : kRoles) {
    if (from == known) return role;
  }
  return from;
}

Json message(std::string_view role, Json content) {
  Json out = Json::object();
  out.set("role", role);
  out.set("content", std::move(content));
  return out;
}

// A column's value; nullptr where it is absent or null.
const Json* value_of(const Json& row, const std::string& column) {
  const Json* value = row.find(column);
  return value == nullptr || value->is_null() ? nullptr : value;
}

// "null; leave such rows out": rows without a text are no empty ones, and LLM Compressor fails on them, too.
std::string found(const Json* value) {
  if (value == nullptr) return "nothing";
  if (value->is_null()) return "null; leave such rows out";
  return value->is_array() ? "a list" : value->is_object() ? "an object" : value->dump();
}

const std::string& string_of(const Json& row, const std::string& column, const std::string& where) {
  const Json* value = row.find(column);
  SWAGE_CHECK(value != nullptr && value->is_string(), CorruptData, where, ": \"", column, "\" must be a string, found ",
              found(value));
  return value->as_string();
}

// "" where it is absent or null.
std::string optional_string(const Json& row, const std::string& column, const std::string& where) {
  return value_of(row, column) == nullptr ? "" : string_of(row, column, where);
}

Json parsed(const std::string& text, const std::string& column, const std::string& where) {
  return parse_json(text, cat(where, ": \"", column, "\""));
}

// Messages as {"role", "content"}, whatever the row calls these.
Json messages_of(const Json& value, const std::string& column, const std::string& where) {
  Json out = Json::array();
  for (const Json& entry : value.as_array()) {
    if (entry.is_object() && entry.find("role") == nullptr && entry.find("from") != nullptr &&
        entry.find("value") != nullptr) {
      out.push_back(message(role_of(string_of(entry, "from", cat(where, ": \"", column, "\""))), entry.at("value")));
      continue;
    }
    const bool good = entry.is_object() && entry.find("role") != nullptr &&
                      (entry.find("content") != nullptr || entry.find("tool_calls") != nullptr);
    SWAGE_CHECK(good, CorruptData, where, ": each of \"", column,
                "\" must be an object with \"role\" and \"content\", or with \"from\" and \"value\"");
    out.push_back(entry);
  }
  return out;
}

RowContent chat_of(Json messages) {
  RowContent out;
  out.is_chat = true;
  out.messages = std::move(messages);
  return out;
}

RowContent text_of(std::string text) {
  RowContent out;
  out.text = std::move(text);
  return out;
}

// A string, or messages: as they are, or as a string of JSON.
RowContent text_or_messages(const Json& row, const std::string& column, bool means_messages, const std::string& where) {
  const Json& value = row.at(column);
  if (value.is_array()) return chat_of(messages_of(value, column, where));
  SWAGE_CHECK(value.is_string(), CorruptData, where, ": \"", column,
              "\" must be a string, or an array of messages, found ", found(&value));
  const bool list = means_messages && value.as_string().starts_with("[{");
  return list ? chat_of(messages_of(parsed(value.as_string(), column, where), column, where))
              : text_of(value.as_string());
}

std::string alpaca(const std::string& instruction, const std::string& input) {
  if (input.empty()) return cat(kNoInput, instruction, kResponse);
  return cat(kInput, instruction, "\n\n### Input:\n", input, kResponse);
}

// Both sides as messages already, as TRL has conversational pairs.
RowContent joined_messages(const RowForm& form, const Json& row, const std::string& where) {
  Json messages = messages_of(row.at(form.columns[0]), form.columns[0], where);
  const Json& answer = row.at(form.columns[1]);
  SWAGE_CHECK(answer.is_array(), CorruptData, where, ": \"", form.columns[0], "\" is a list of messages, but \"",
              form.columns[1], "\" is none");
  const Json rest = messages_of(answer, form.columns[1], where);
  for (const Json& one : rest.as_array()) messages.push_back(one);
  return chat_of(std::move(messages));
}

RowContent pair_of(const RowForm& form, const Json& row, const std::string& where, bool has_template) {
  if (row.at(form.columns[0]).is_array()) return joined_messages(form, row, where);
  const std::string &question = string_of(row, form.columns[0], where),
                    &answer = string_of(row, form.columns[1], where);
  if (form.kind == Kind::Continuation) return text_of(question + answer);
  std::string system, input;
  for (const std::string& column : form.optional) {
    (column.starts_with("system") ? system : input) = optional_string(row, column, where);
  }
  if (has_template) {
    Json messages = Json::array();
    if (!system.empty()) messages.push_back(message("system", system));
    messages.push_back(message("user", input.empty() ? question : cat(question, "\n\n", input)));
    messages.push_back(message("assistant", answer));
    return chat_of(std::move(messages));
  }
  const std::string before = system.empty() ? "" : system + "\n\n";
  if (form.kind == Kind::Alpaca) return text_of(before + alpaca(question, input) + answer);
  if (form.kind == Kind::Question) return text_of(cat(before, "Question: ", question, "\nAnswer: ", answer));
  return text_of(cat(before, question, "\n\n", answer));
}

// An empty system turn stands in front of a conversation that has none.
RowContent ultrachat(const Json& row, const std::string& where) {
  const Json& value = row.at("messages");
  SWAGE_CHECK(value.is_array() && !value.as_array().empty(), CorruptData, where,
              ": \"messages\" must be a list of messages");
  const Json given = messages_of(value, "messages", where);
  if (given.as_array()[0].get_string("role", "") == "system") return chat_of(given);
  Json messages = Json::array();
  messages.push_back(message("system", ""));
  for (const Json& one : given.as_array()) messages.push_back(one);
  return chat_of(std::move(messages));
}

RowForm pair_form(const Pair& pair, const Names& columns) {
  RowForm form{pair.kind, {pair.question, pair.answer}, {}};
  for (const char* extra : {"system", "system_prompt"}) {
    if (pair.kind != Kind::Continuation && has(columns, extra)) form.optional.push_back(extra);
  }
  for (const char* extra : {"input", "context"}) {
    if (pair.kind == Kind::Alpaca && has(columns, extra) && form.columns[1] != extra) form.optional.push_back(extra);
  }
  return form;
}

// The form that the columns' names tell.
std::optional<RowForm> form_of(const Names& columns) {
  if (has(columns, "text")) return RowForm{Kind::Text, {"text"}, {}};
  for (const char* name : {"messages", "conversations", "conversation"}) {
    if (has(columns, name)) return RowForm{Kind::Messages, {name}, {}};
  }
  for (const Pair& pair : kPairs) {
    if (has(columns, pair.question) && has(columns, pair.answer)) return pair_form(pair, columns);
  }
  return std::nullopt;
}

// What a string holds as JSON; null for an empty one. Other values are themselves.
Json held(const Json& value, const std::string& name, const std::string& where) {
  if (!value.is_string()) return value;
  return value.as_string().empty() ? Json() : parsed(value.as_string(), name, where);
}

// "tools" and "documents": a list, or a string that holds one; so may its members be.
void add_list(const std::string& name, const Json& value, const std::string& where, Json& out) {
  Json list = held(value, name, where);
  if (list.is_null()) return;
  SWAGE_CHECK(list.is_array(), CorruptData, where, ": \"", name,
              "\" must be a list, or a string that holds one as JSON");
  for (Json& one : list.as_array()) {
    if (one.is_string() && one.as_string().starts_with("{")) one = parsed(one.as_string(), name, where);
  }
  out.set(name, std::move(list));
}

// "chat_template_kwargs": an object of variables, or a string that holds one.
void add_variables(const std::string& name, const Json& value, const std::string& where, Json& out) {
  const Json given = held(value, name, where);
  if (given.is_null() || given.is_string()) return;
  SWAGE_CHECK(given.is_object(), CorruptData, where, ": \"", name, "\" must be an object");
  for (const auto& [key, one] : given.as_object()) out.set(key, one);
}

}  // namespace

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += cat(text.empty() ? "\"" : ", \"", name, "\"");
  return text.empty() ? "none" : text;
}

std::string RowForm::text() const {
  std::string out;
  for (const std::string& column : columns) out += (out.empty() ? "" : " + ") + column;
  return out;
}

bool is_form(const std::string& name) {
  const auto& forms = named_forms();
  return std::any_of(forms.begin(), forms.end(), [&](const Named& named) { return named.name == name; });
}

RowForm choose_form(const Names& columns, const std::string& wanted_column, const std::string& wanted_form,
                    std::string_view source) {
  if (!wanted_column.empty()) {
    SWAGE_CHECK(has(columns, wanted_column), InvalidArgument, source, ": no column \"", wanted_column,
                "\"; columns found: ", quoted_list(columns));
    const bool messages = wanted_column == "messages" || wanted_column == "conversations";
    return {messages ? Kind::Messages : Kind::Text, {wanted_column}, {}};
  }
  for (const Named& named : named_forms()) {
    if (named.name != wanted_form) continue;
    for (const std::string& column : named.form.columns) {
      SWAGE_CHECK(has(columns, column), InvalidArgument, source, ": no column \"", column, "\", which ", wanted_form,
                  " has; columns found: ", quoted_list(columns));
    }
    return named.form;
  }
  if (const auto found = form_of(columns)) return *found;
  throw Error(
      ErrorKind::InvalidArgument,
      cat(source,
          ": neither a \"text\" nor a \"messages\" column, nor one of the pairs that are known (prompt and response, "
          "instruction and output, question and answer); columns found: ",
          quoted_list(columns), ". Choose one with --text-column"));
}

RowContent read_row(const RowForm& form, const Json& row, const std::string& where, bool has_template) {
  SWAGE_CHECK(row.is_object(), CorruptData, where, ": expected a JSON object");
  for (const std::string& column : form.columns) {
    if (row.find(column) != nullptr) continue;
    Names names;
    for (const auto& [name, value] : row.as_object()) names.push_back(name);
    throw Error(ErrorKind::CorruptData, cat(where, ": no \"", column, "\"; found: ", quoted_list(names)));
  }
  switch (form.kind) {
    case Kind::Text:
    case Kind::Messages:
      return text_or_messages(row, form.columns[0], form.kind == Kind::Messages, where);
    case Kind::OpenPlatypus:
      return text_of(alpaca(string_of(row, "instruction", where), optional_string(row, "input", where)) +
                     optional_string(row, "output", where));
    case Kind::UltraChat:
      return ultrachat(row, where);
    case Kind::Gsm8k: {
      const bool answered = value_of(row, "answer") != nullptr;
      return text_of(cat("Question: ", string_of(row, "question", where),
                         "\nAnswer:", answered ? " " + string_of(row, "answer", where) : ""));
    }
    case Kind::CnnDailyMail:
      return text_of(cat("Article:\n", string_of(row, "article", where), "\n\n### Summarization:\n",
                         string_of(row, "highlights", where), "\n"));
    case Kind::EvolCodeAlpaca: {
      // The original looks for the word in the text, not for the column in the row: an answer follows only where the
      // task speaks of "output".
      const std::string prompt = cat(kProgram, string_of(row, "instruction", where), kResponse);
      return text_of(prompt.find("output") == std::string::npos ? prompt : prompt + string_of(row, "output", where));
    }
    case Kind::PerfectBlend:
      SWAGE_CHECK(row.at("conversations").is_array(), CorruptData, where,
                  ": \"conversations\" must be a list of messages");
      return chat_of(messages_of(row.at("conversations"), "conversations", where));
    default:
      return pair_of(form, row, where, has_template);
  }
}

bool is_template_variable(const std::string& column, const Tokenizer& tokenizer) {
  if (column == "tools" || column == "documents" || column == "chat_template_kwargs") return true;
  return column != "messages" && column != "add_generation_prompt" && !column.ends_with("_token") &&
         tokenizer.chat_template_mentions(column);
}

Json template_variables(const RowForm& form, const Json& row, const std::string& where, const Tokenizer& tokenizer) {
  Json out = Json::object();
  for (const auto& [name, value] : row.as_object()) {
    const bool is_content = has(form.columns, name) || has(form.optional, name);
    if (value.is_null() || is_content || !is_template_variable(name, tokenizer)) continue;
    if (name == "chat_template_kwargs")
      add_variables(name, value, where, out);
    else if (name == "tools" || name == "documents")
      add_list(name, value, where, out);
    else
      out.set(name, value);
  }
  return out;
}

std::string_view plain_chat_template() {
  return "{% for message in messages %}\n"
         "{% if message['role'] == 'user' %}\n"
         "{{ '<|user|>\n' + message['content'] + eos_token }}\n"
         "{% elif message['role'] == 'system' %}\n"
         "{{ '<|system|>\n' + message['content'] + eos_token }}\n"
         "{% elif message['role'] == 'assistant' %}\n"
         "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
         "{% endif %}\n"
         "{% if loop.last and add_generation_prompt %}\n"
         "{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}";
}

}  // namespace swage::data
