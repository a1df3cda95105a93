// The answer to one HTTP request, while the engine makes it: of one prompt or several, each with its choices. What it
// looks like is for the classes that derive from it.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "apps/server/service.h"

namespace swage::server {

// What came of one choice so far.
struct Choice {
  std::string text;
  std::vector<runtime::TokenInfo> tokens;  // an end token among them
  runtime::Event last;                     // of its end
  Clock::time_point seen{};                // when its last tokens came
  bool has_ended = false;
};

struct Usage {
  int64_t prompt = 0, completion = 0, cached = 0;
};
// {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details": {"cached_tokens"}}
Json to_json(const Usage& usage);

class Answer : public std::enable_shared_from_this<Answer> {
 public:
  Answer(Service& service, Call call, bool streamed) : service_(service), call_(std::move(call)), streamed_(streamed) {}
  virtual ~Answer() = default;

  // Hands the prompts to the engine; nothing of the request is left there if that throws.
  void ask(std::vector<runtime::Request> prompts);
  void set_headers(net::HttpHeaders headers) { headers_ = std::move(headers); }

 protected:
  // Of the engine's thread, one at a time. `index`: prompt by prompt, its choices in order. The event's texts and
  // tokens are in the choice already.
  virtual void begin() {}
  virtual void news(size_t index, const runtime::Event& event) = 0;
  virtual void done() = 0;
  // An error behind the headers of a stream.
  virtual void fail_stream(const ApiError& error);

  // For streams: an event whose data is this.
  void send(const Json& data);
  void send_text(std::string_view text);
  void end_stream();
  void reply(const Json& body, net::HttpHeaders more = {});

  const std::vector<Choice>& choices() const { return choices_; }
  const std::vector<runtime::Request>& prompts() const { return prompts_; }
  int64_t choices_each() const { return prompts_.empty() ? 1 : prompts_[0].choices; }
  Usage usage() const;
  Clock::time_point first_token() const { return first_token_; }
  Clock::time_point submitted() const { return submitted_; }

  Service& service_;
  const Call call_;
  const bool streamed_;

 private:
  void take(size_t prompt, runtime::Event&& event);
  void observe(Choice& choice, const runtime::Event& event);
  void finish();
  void fail(const ApiError& error);
  void note_result();

  std::mutex mutex_;  // what is below, while prompts are handed over
  std::vector<runtime::Request> prompts_;
  std::vector<Choice> choices_;
  net::HttpHeaders headers_;
  size_t ended_ = 0;
  bool is_over_ = false;
  Clock::time_point submitted_{}, first_token_{};
};

// "data: {...}\n\n"
std::string sse(const Json& data);

}  // namespace swage::server
