// Calls of tools in the text of an answer, in the forms that chat templates teach models: <tool_call>{JSON}</tool_call>
// (Hermes, Qwen), <tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call> (Qwen3-Coder),
// [TOOL_CALLS] [{JSON}] (Mistral) and plain JSON (Llama 3).
#pragma once
#include <string>
#include <vector>

#include "swage/swage.h"

namespace swage::server {

struct ToolCall {
  std::string name;
  std::string arguments;  // JSON
};

// Of one answer, piece by piece. Text that may still be a call waits.
class ToolCallReader {
 public:
  struct News {
    std::string content;  // that is certainly none
    std::vector<ToolCall> calls;
  };

  // `names`: of the tools; calls of others are content.
  explicit ToolCallReader(std::vector<std::string> names) : names_(std::move(names)) {}
  News push(const std::string& text);
  News finish();

 private:
  enum class State { Beginning, Content, Call, Json };

  bool step(News& news);
  bool begin(News& news);
  bool find_call(News& news);
  bool end_call(News& news);
  bool take_calls(const std::string& text, News& news) const;
  bool take_call(const swage::Json& call, std::vector<ToolCall>& calls) const;
  bool take_tagged(const std::string& text, std::vector<ToolCall>& calls) const;
  bool is_known(const std::string& name) const;

  const std::vector<std::string> names_;
  State state_ = State::Beginning;
  std::string waiting_;
  std::string tag_;  // that the call began with
};

}  // namespace swage::server
