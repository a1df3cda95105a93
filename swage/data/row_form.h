// How the rows of a data set become documents: which columns are read, and what is made of them.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/json.h"
#include "swage/data/tokenizer.h"

namespace swage::data {

// What one row says.
struct RowContent {
  bool is_chat = false;
  std::string text;               // if it is no chat
  Json messages = Json::array();  // [{"role", "content", ...}]
};

struct RowForm {
  // What a row is made into. Text, messages and pairs are found by the columns; the named ones are what LLM
  // Compressor's registry makes of the data set of that name, texts equal.
  enum class Kind {
    Text,
    Messages,
    Pair,
    Continuation,
    Alpaca,
    Question,
    OpenPlatypus,
    UltraChat,
    Gsm8k,
    CnnDailyMail,
    EvolCodeAlpaca,
    PerfectBlend
  };
  Kind kind = Kind::Text;
  std::vector<std::string> columns;   // that a row must have
  std::vector<std::string> optional;  // that are used where a row has them
  std::string text() const;           // "text", "prompt + response"
};

// The form of rows with these columns: `wanted` is a column named by the user, a form named by the registry
// ("open_platypus"), or empty: then "text", "messages", "conversations", or a pair of a question and its answer,
// whichever comes first. Error(InvalidArgument) naming `columns` if there is none.
RowForm choose_form(const std::vector<std::string>& columns, const std::string& wanted_column,
                    const std::string& wanted_form, std::string_view source);
// True if there is a form of that name.
bool is_form(const std::string& name);

// What the row says in this form. Pairs become chats where the model has a template for them. `where` begins errors:
// Error(CorruptData) for a missing column or one of another type.
RowContent read_row(const RowForm& form, const Json& row, const std::string& where, bool has_template);

// Beside the messages, what a row tells the chat template: its `tools` and `documents` (lists, or JSON strings as
// Parquet exports have them), what stands in `chat_template_kwargs`, and every other column that `tokenizer`'s template
// mentions. Null is as good as absent.
Json template_variables(const RowForm& form, const Json& row, const std::string& where, const Tokenizer& tokenizer);
// Whether template_variables() looks at a column of that name.
bool is_template_variable(const std::string& column, const Tokenizer& tokenizer);

// The template that LLM Compressor gives a model without one for its chat data sets.
std::string_view plain_chat_template();

// "a", "b", "c"
std::string quoted_list(const std::vector<std::string>& names);

}  // namespace swage::data
