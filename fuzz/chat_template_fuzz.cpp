// Any text as a chat template: refused with its line, or rendered in bounded time and memory, or says why not.
#include "fuzz/support.h"
#include "swage/data/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swage;
  static const Json messages = parse_json(
      R"([{"role":"system","content":"Be kind."},{"role":"user","content":"h\"\u00e9"},{"role":"assistant","content":"yes","tool_calls":[{"function":{"name":"f","arguments":{"x":[1,2.5,null,true]}}}]}])",
      "messages");
  static const Json variables = parse_json(R"({"bos_token":"<s>","eos_token":"</s>"})", "variables");
  fuzz::refuses_or_reads({ErrorKind::CorruptData}, [&] {
    const data::ChatTemplate chat_template(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
    fuzz::refuses_or_reads({ErrorKind::InvalidArgument}, [&] {
      const std::string text = chat_template.render(messages, variables, {.add_generation_prompt = true});
      fuzz::expect(chat_template.render(messages, variables, {.add_generation_prompt = true}) == text);
    });
  });
  return 0;
}
