// The functions of swage.h by name, from JSON options to JSON results. Free of Python.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/swage.h"

namespace swage::python {

// News of an answer, for generate().
using TextSink = std::function<void(size_t prompt, int64_t choice, const std::string& text)>;

struct Call {
  std::string function;  // of functions()
  Json options = Json::object();
  std::map<std::string, std::string> environment;  // what the hub's settings and those of a GPU are read from
  Context context;                                 // its functions and the flag to cancel
  TextSink on_text = [](size_t, int64_t, const std::string&) {};
};

// Opens libswage.so; Error(Io) with the loader's words if it or what it needs does not load.
void open_library(const std::string& file);
bool library_is_open();

std::vector<std::string> functions();
// Needs the open library, but for inspect, schemes, scheme_for and preset_names.
Json run(Call call);
// Fields of the function's options: [{"name", "help", "default"}].
Json fields_of(const std::string& function);
// Of each modifier that a recipe may name: {"GPTQModifier": {"method", "fields": [{"name", "help", "default"}]}}.
Json modifiers();
// Error(InvalidArgument) naming the nearest field, as a recipe with these fields would give.
void check_modifier(const std::string& modifier, const Json& fields);

}  // namespace swage::python
