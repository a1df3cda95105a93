#include "apps/server/answer.h"

#include <algorithm>

namespace swage::server {
namespace {

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

int64_t retry_after(const Service& service) {
  const auto waves = double(service.live.count()) / double(service.limits.max_sequences);
  return int64_t(std::clamp(service.metrics.mean_request_seconds() * waves, 1.0, 60.0));
}

const char* finish_label(runtime::Finish finish) {
  switch (finish) {
    case runtime::Finish::End:
      return "end";
    case runtime::Finish::Stop:
      return "stop";
    case runtime::Finish::Length:
      return "length";
    default:
      return "broken_off";
  }
}

ApiError ended_by(Live::End end) {
  if (end == Live::End::TimedOut) return {504, "timeout_error", "the request took longer than allowed", {}, "timeout"};
  return {503, "unavailable_error", "the server is shutting down", {}, "shutting_down"};
}

}  // namespace

std::string sse(const Json& data) { return cat("data: ", data.dump(), "\n\n"); }

Json to_json(const Usage& usage) {
  Json details = Json::object();
  details.set("cached_tokens", usage.cached);
  Json out = Json::object();
  out.set("prompt_tokens", usage.prompt);
  out.set("completion_tokens", usage.completion);
  out.set("total_tokens", usage.prompt + usage.completion);
  out.set("prompt_tokens_details", std::move(details));
  return out;
}

void Answer::ask(std::vector<runtime::Request> prompts) {
  if (int64_t(service_.live.count()) > service_.limits.max_requests) throw overloaded(retry_after(service_));
  const std::lock_guard lock(mutex_);
  for (runtime::Request& request : prompts) request.client = call_.request.client;
  prompts_ = prompts;
  choices_.resize(prompts.size() * size_t(choices_each()));
  submitted_ = Clock::now();
  try {
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto self = shared_from_this();
      const auto id = service_.engine.submit(std::move(prompts[i]),
                                             [self, i](runtime::Event&& event) { self->take(i, std::move(event)); });
      if (!id) throw overloaded(retry_after(service_));
      call_.live->add(*id);
    }
  } catch (...) {
    is_over_ = true;
    call_.live->stop(Live::End::Gone);
    throw;
  }
  if (!streamed_) return;
  net::HttpHeaders headers = headers_;
  headers.emplace_back("content-type", "text/event-stream; charset=utf-8");
  headers.emplace_back("cache-control", "no-cache");
  headers.emplace_back("x-accel-buffering", "no");
  service_.metrics.answered(200);
  service_.http.begin_stream(call_.id, 200, headers);
  begin();
}

void Answer::observe(Choice& choice, const runtime::Event& event) {
  if (event.tokens.empty()) return;
  const Clock::time_point now = Clock::now();
  if (first_token_ == Clock::time_point()) {
    first_token_ = now;
    service_.metrics.first_token(seconds(call_.live->began(), now));
  }
  if (choice.seen != Clock::time_point()) service_.metrics.next_tokens(seconds(choice.seen, now), event.tokens.size());
  choice.seen = now;
}

void Answer::take(size_t prompt, runtime::Event&& event) {
  const std::lock_guard lock(mutex_);
  if (is_over_) return;
  if (call_.live->is_gone() || event.finish == runtime::Finish::Cancelled) {
    const Live::End end = call_.live->end();
    if (end == Live::End::Gone || end == Live::End::None) {
      is_over_ = true;
      service_.live.finish(call_.id);
      service_.metrics.choice_finished("cancelled");
    } else {
      fail(ended_by(end));
    }
    return;
  }
  if (event.finish == runtime::Finish::Failed) return fail({500, "server_error", event.error, {}, "generation"});
  const size_t index = prompt * size_t(choices_each()) + size_t(event.choice);
  Choice& choice = choices_.at(index);
  observe(choice, event);
  choice.text += event.text;
  choice.tokens.insert(choice.tokens.end(), event.tokens.begin(), event.tokens.end());
  if (event.finish) {
    choice.has_ended = true;
    ++ended_;
    service_.metrics.choice_finished(finish_label(*event.finish));
  }
  try {
    news(index, event);
  } catch (const std::exception& e) {  // of this request alone
    return fail(as_api_error(e));
  }
  if (event.finish) choice.last = std::move(event);
  if (ended_ == choices_.size()) finish();
}

void Answer::finish() {
  is_over_ = true;
  const Clock::time_point now = Clock::now();
  service_.metrics.finished(seconds(call_.live->began(), now), seconds(call_.live->began(), submitted_));
  note_result();
  try {
    done();
  } catch (const std::exception& e) {  // of this request alone
    is_over_ = false;
    fail(as_api_error(e));
  }
}

void Answer::fail(const ApiError& error) {
  is_over_ = true;
  call_.live->stop(Live::End::Gone);
  if (!streamed_) return reply_error(service_, call_, error);
  fail_stream(error);
  end_stream();
}

void Answer::fail_stream(const ApiError& error) { send(body_of(error, call_.dialect)); }

void Answer::send(const Json& data) { send_text(sse(data)); }

void Answer::send_text(std::string_view text) {
  if (!service_.http.send(call_.id, text)) call_.live->stop(Live::End::Gone);
}

void Answer::end_stream() {
  service_.http.end(call_.id);
  service_.live.finish(call_.id);
}

void Answer::reply(const Json& body, net::HttpHeaders more) {
  more.insert(more.end(), headers_.begin(), headers_.end());
  reply_json(service_, call_, 200, body, std::move(more));
}

Usage Answer::usage() const {
  Usage out;
  const auto each = size_t(choices_each());
  for (size_t i = 0; i < choices_.size(); ++i) {
    out.completion += int64_t(choices_[i].tokens.size());
    if (i % each == 0) out.cached += choices_[i].last.cached_tokens;
  }
  for (const runtime::Request& request : prompts_) out.prompt += int64_t(request.prompt.size());
  return out;
}

void Answer::note_result() {
  const Usage found = usage();
  service_.http.note(call_.id, "prompt_tokens", found.prompt);
  service_.http.note(call_.id, "completion_tokens", found.completion);
  if (first_token_ != Clock::time_point())
    service_.http.note(call_.id, "first_token_seconds", seconds(call_.live->began(), first_token_));
}

}  // namespace swage::server
