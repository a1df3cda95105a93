#include "apps/server/tool_calls.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace swage::server {
namespace {

constexpr const char* kSpace = " \t\r\n";

struct Tag {
  std::string_view begin, end;  // no end: to the end of the text
};
constexpr std::array<Tag, 3> kTags = {{{"<tool_call>", "</tool_call>"}, {"[TOOL_CALLS]", ""}, {"<|python_tag|>", ""}}};

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kSpace) - first + 1));
}

// Bytes at the end of a text that may become a tag.
size_t open_end(std::string_view text) {
  size_t open = 0;
  for (const Tag& tag : kTags) {
    for (size_t length = std::min(tag.begin.size() - 1, text.size()); length > open; --length) {
      if (text.ends_with(tag.begin.substr(0, length))) open = length;
    }
  }
  return open;
}

// Where a text ends but for blanks: those before a call are none of it.
size_t text_end(std::string_view text) {
  const size_t last = text.find_last_not_of(kSpace);
  return last == std::string_view::npos ? 0 : last + 1;
}

// What stands between two marks, from `at` on; `at` goes behind the second.
std::optional<std::string> between(std::string_view text, std::string_view begin, std::string_view end, size_t& at) {
  const size_t first = text.find(begin, at);
  if (first == std::string_view::npos) return {};
  const size_t inner = first + begin.size(), last = text.find(end, inner);
  if (last == std::string_view::npos) return {};
  at = last + end.size();
  return std::string(text.substr(inner, last - inner));
}

std::optional<Json> json_in(const std::string& text) {
  try {
    return parse_json(text, "a tool call");
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

bool ToolCallReader::is_known(const std::string& name) const {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

bool ToolCallReader::take_call(const Json& call, std::vector<ToolCall>& calls) const {
  const Json* name = call.find("name");
  if (name == nullptr || !name->is_string() || !is_known(name->as_string())) return false;
  const Json* arguments = call.find("arguments");
  if (arguments == nullptr) arguments = call.find("parameters");
  std::string text = "{}";
  if (arguments != nullptr) text = arguments->is_string() ? arguments->as_string() : arguments->dump();
  calls.push_back({name->as_string(), std::move(text)});
  return true;
}

// <function=NAME><parameter=KEY>VALUE</parameter>...</function>: values are JSON where they read so, else text.
bool ToolCallReader::take_tagged(const std::string& text, std::vector<ToolCall>& calls) const {
  size_t at = 0;
  const std::optional<std::string> name = between(text, "<function=", ">", at);
  if (!name || !is_known(*name)) return false;
  Json arguments = Json::object();
  while (const std::optional<std::string> key = between(text, "<parameter=", ">", at)) {
    const size_t end = text.find("</parameter>", at);
    const std::string value = trimmed(text.substr(at, end == std::string::npos ? end : end - at));
    arguments.set(*key, json_in(value).value_or(Json(value)));
    if (end == std::string::npos) break;
    at = end;
  }
  calls.push_back({*name, arguments.dump()});
  return true;
}

bool ToolCallReader::take_calls(const std::string& text, News& news) const {
  std::vector<ToolCall> calls;
  if (text.starts_with("<function=")) {
    if (!take_tagged(text, calls)) return false;
  } else {
    const std::optional<Json> value = json_in(text);
    if (!value) return false;
    const Json::Array list = value->is_array() ? value->as_array() : Json::Array{*value};
    if (list.empty()) return false;
    for (const Json& one : list) {
      if (!take_call(one, calls)) return false;
    }
  }
  news.calls.insert(news.calls.end(), calls.begin(), calls.end());
  return true;
}

bool ToolCallReader::begin(News& news) {
  const size_t first = waiting_.find_first_not_of(kSpace);
  if (first == std::string::npos) return false;
  if (waiting_[first] == '{' || (waiting_[first] == '[' && first + 1 < waiting_.size() && waiting_[first + 1] != 'T')) {
    state_ = State::Json;
    return false;
  }
  if (waiting_[first] == '[' && first + 1 == waiting_.size()) return false;
  state_ = State::Content;
  return find_call(news);
}

bool ToolCallReader::find_call(News& news) {
  size_t at = std::string::npos;
  const Tag* found = nullptr;
  for (const Tag& tag : kTags) {
    const size_t here = waiting_.find(tag.begin);
    if (here < at) at = here, found = &tag;
  }
  if (found == nullptr) {
    const size_t certain = text_end(std::string_view(waiting_).substr(0, waiting_.size() - open_end(waiting_)));
    news.content += waiting_.substr(0, certain);
    waiting_.erase(0, certain);
    return false;
  }
  news.content += waiting_.substr(0, text_end(std::string_view(waiting_).substr(0, at)));
  waiting_.erase(0, at + found->begin.size());
  tag_ = found->begin;
  state_ = State::Call;
  return true;
}

bool ToolCallReader::end_call(News& news) {
  const auto tag = std::find_if(kTags.begin(), kTags.end(), [&](const Tag& one) { return one.begin == tag_; });
  if (tag->end.empty()) return false;
  const size_t end = waiting_.find(tag->end);
  if (end == std::string::npos) return false;
  const std::string inner = waiting_.substr(0, end);
  if (!take_calls(trimmed(inner), news)) news.content += cat(tag->begin, inner, tag->end);
  waiting_.erase(0, end + tag->end.size());
  state_ = State::Content;
  return true;
}

bool ToolCallReader::step(News& news) {
  switch (state_) {
    case State::Beginning:
      return begin(news);
    case State::Content:
      return find_call(news);
    case State::Call:
      return end_call(news);
    case State::Json:
      break;
  }
  return false;
}

ToolCallReader::News ToolCallReader::push(const std::string& text) {
  waiting_ += text;
  News news;
  while (step(news)) {
  }
  return news;
}

ToolCallReader::News ToolCallReader::finish() {
  News news;
  const std::string rest = std::exchange(waiting_, {});
  if ((state_ == State::Call || state_ == State::Json) && take_calls(trimmed(rest), news)) return news;
  if (state_ == State::Call) news.content += tag_;
  news.content += rest;
  return news;
}

}  // namespace swage::server
