// /v1/compressions and /v1/uploads.
#include "apps/server/answer.h"
#include "apps/server/fields.h"
#include "apps/server/handlers.h"
#include "apps/server/jobs.h"

namespace swage::server {
namespace {

Jobs& jobs_of(Service& service) {
  if (service.jobs == nullptr) throw not_found("compressions are not taken here: --jobs", "not_found");
  return *service.jobs;
}

// The job that a path names, and what stands behind it: "cmp_1/events".
std::pair<Job, std::string> job_in(Service& service, const Call& call) {
  const size_t slash = call.rest.find('/');
  try {
    return {jobs_of(service).get(call.rest.substr(0, slash)),
            slash == std::string::npos ? std::string() : call.rest.substr(slash + 1)};
  } catch (const Error& e) {
    throw not_found(e.what(), "not_found");
  }
}

void stream_job(Service& service, const Call& call, const std::string& id) {
  service.metrics.answered(200);
  service.http.begin_stream(call.id, 200,
                            {{"content-type", "text/event-stream; charset=utf-8"},
                             {"cache-control", "no-cache"},
                             {"x-accel-buffering", "no"}});
  service.live.finish(call.id);  // it holds nothing of the engine's
  net::HttpServer& http = service.http;
  jobs_of(service).listen(id, [&http, number = call.id](const Job& job, const std::string& line) {
    Json event = Json::object();
    event.set("status", name_of(job.state));
    if (!line.empty()) event.set("line", line);
    if (line.empty() && !job.error.empty()) event.set("error", job.error);
    const bool there = http.send(number, sse(event));
    if (line.empty()) http.end(number);
    return there;
  });
}

}  // namespace

void create_job(Service& service, const Call& call) {
  reply_json(service, call, 202, to_json(jobs_of(service).create(parse_body(call.request.body))));
}

void list_jobs(Service& service, const Call& call) {
  Json list = Json::array();
  for (const Job& job : jobs_of(service).list()) list.push_back(to_json(job));
  Json out = Json::object();
  out.set("object", "list");
  out.set("data", std::move(list));
  reply_json(service, call, 200, out);
}

void get_job(Service& service, const Call& call) {
  const auto [job, what] = job_in(service, call);
  if (what.empty()) return reply_json(service, call, 200, to_json(job));
  if (what == "events") return stream_job(service, call, job.id);
  if (what == "report") return reply_json(service, call, 200, jobs_of(service).report(job.id));
  throw not_found(cat("a job has no \"", what.substr(0, 60), "\""), "not_found");
}

void cancel_job(Service& service, const Call& call) {
  const auto [job, what] = job_in(service, call);
  const bool is_asked = call.request.method == "DELETE" ? what.empty() : what == "cancel";
  if (!is_asked) throw not_found("POST goes to /v1/compressions/ID/cancel", "not_found");
  reply_json(service, call, 200, to_json(jobs_of(service).cancel(job.id)));
}

void upload(Service& service, const Call& call) {
  if (call.request.body.empty()) throw bad_field({}, "the body is empty: expected the text, as JSON lines");
  Json out = Json::object();
  out.set("id", jobs_of(service).keep(call.request.body));
  out.set("bytes", int64_t(call.request.body.size()));
  reply_json(service, call, 200, out);
}

}  // namespace swage::server
