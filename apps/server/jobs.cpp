#include "apps/server/jobs.h"

#include <signal.h>

#include <algorithm>
#include <array>
#include <optional>

#include "apps/server/child_process.h"
#include "apps/server/sampling.h"
#include "swage/base/file.h"
#include "swage/io/atomic_file.h"

namespace swage::server {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostLines = 500, kMostJobs = 1000;
constexpr std::array<const char*, 5> kStates = {"queued", "running", "succeeded", "failed", "cancelled"};

fs::path file_of(const JobOptions& options, const std::string& id) {
  return fs::path(options.folder) / id / "job.json";
}

Json stored(const Job& job) {
  Json out = to_json(job);
  out.erase("log");
  return out;
}

// What load() finds of a job; nothing if the folder is none.
std::optional<Job> read_job(const JobOptions& options, const std::string& id) {
  if (!is_there(file_of(options, id))) return {};
  const Json json = read_json_file(file_of(options, id));
  Job job;
  job.id = id;
  job.created = json.get_int("created_at", 0);
  job.finished = json.get_int("finished_at", 0);
  job.request = json.at("request");
  job.error = json.get_string("error", "");
  const std::string status = json.get_string("status", "");
  const auto at = std::find(kStates.begin(), kStates.end(), status);
  SWAGE_CHECK(at != kStates.end(), CorruptData, id, ": a job of status \"", status, "\"");
  job.state = Job::State(at - kStates.begin());
  if (job.state == Job::State::Running) job.state = Job::State::Queued;  // goes on
  if (!is_over(job.state)) job.arguments = compress_arguments(options, job.request, file_of(options, id).parent_path());
  return job;
}

}  // namespace

const char* name_of(Job::State state) { return kStates.at(size_t(state)); }

bool is_over(Job::State state) { return state != Job::State::Queued && state != Job::State::Running; }

Json to_json(const Job& job) {
  Json log = Json::array();
  for (const std::string& line : job.lines) log.push_back(line);
  Json out = Json::object();
  out.set("id", job.id);
  out.set("object", "compression");
  out.set("status", name_of(job.state));
  out.set("created_at", job.created);
  out.set("finished_at", job.finished == 0 ? Json() : Json(job.finished));
  out.set("request", job.request);
  out.set("error", job.error.empty() ? Json() : Json(job.error));
  out.set("log", std::move(log));
  return out;
}

Jobs::Jobs(JobOptions options, const std::function<void(const std::string&)>& log) : options_(std::move(options)) {
  fs::create_directories(fs::path(options_.folder) / "uploads");
  load(log);
  thread_ = std::thread([this] { run(); });
}

Jobs::~Jobs() {
  stop();
  thread_.join();
}

void Jobs::stop() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  if (running_ > 0) kill(pid_t(running_), SIGINT);
  for (const auto& [id, listener] : listeners_) listener(jobs_.at(id), {});
  listeners_.clear();
  changed_.notify_all();
}

void Jobs::load(const std::function<void(const std::string&)>& log) {
  for (const auto& entry : fs::directory_iterator(options_.folder)) {
    const std::string id = entry.path().filename().string();
    if (!id.starts_with("cmp_") || entry.is_symlink() || !entry.is_directory()) continue;
    try {
      if (std::optional<Job> job = read_job(options_, id)) jobs_[id] = std::move(*job);
    } catch (const Error& e) {
      log(cat("the job ", id, " is left out: ", e.what()));
    }
  }
}

void Jobs::save(const Job& job) const {
  io::write_file_atomically(file_of(options_, job.id), stored(job).dump(2) + "\n");
}

Job Jobs::create(const Json& request) {
  Job job;
  job.id = new_id("cmp_");
  job.created = now_seconds();
  job.request = request;
  const fs::path folder = fs::path(options_.folder) / job.id;
  job.arguments = compress_arguments(options_, request, fs::absolute(folder));
  const std::lock_guard lock(mutex_);
  SWAGE_CHECK(jobs_.size() < kMostJobs, InvalidArgument, "there are ", kMostJobs,
              " jobs already: remove the folders of old ones");
  fs::create_directory(folder);
  save(job);
  jobs_[job.id] = job;
  changed_.notify_all();
  return job;
}

std::string Jobs::keep(const std::string& contents) {
  const std::string name = new_id("upload-") + ".jsonl";
  io::write_file_atomically(fs::path(options_.folder) / "uploads" / name, contents);
  return name;
}

const Job& Jobs::known(const std::string& id) const {
  const auto found = jobs_.find(id);
  SWAGE_CHECK(found != jobs_.end(), InvalidArgument, "there is no job \"", id.substr(0, 60), "\"");
  return found->second;
}

std::vector<Job> Jobs::list() const {
  std::vector<Job> out;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, job] : jobs_) out.push_back(job);
  std::stable_sort(out.begin(), out.end(), [](const Job& a, const Job& b) { return a.created < b.created; });
  return out;
}

Job Jobs::get(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  return known(id);
}

Job Jobs::cancel(const std::string& id) {
  const std::lock_guard lock(mutex_);
  known(id);
  Job& job = jobs_[id];
  if (job.state == Job::State::Running) {
    cancelled_.insert(id);
    if (running_ > 0) kill(pid_t(running_), SIGINT);
  } else if (job.state == Job::State::Queued) {
    job.state = Job::State::Cancelled;
    job.finished = now_seconds();
    save(job);
    tell(job, {});
  }
  return job;
}

Json Jobs::report(const std::string& id) const {
  const Job job = get(id);
  SWAGE_CHECK(job.state == Job::State::Succeeded, InvalidArgument, "the job is ", name_of(job.state),
              ": there is no report");
  return read_json_file(fs::path(options_.folder) / id / "output" / "swage_report.json");
}

void Jobs::listen(const std::string& id, JobListener listener) {
  const std::lock_guard lock(mutex_);
  const Job& job = known(id);
  for (const std::string& line : job.lines) {
    if (!listener(job, line)) return;
  }
  if (is_over(job.state))
    listener(job, {});
  else
    listeners_.emplace(id, std::move(listener));
}

void Jobs::tell(const Job& job, const std::string& line) {
  const auto [first, last] = listeners_.equal_range(job.id);
  for (auto at = first; at != last;) at = at->second(job, line) && !line.empty() ? std::next(at) : listeners_.erase(at);
}

void Jobs::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const Job* next = nullptr;
    for (const auto& [id, job] : jobs_) {
      if (job.state == Job::State::Queued && (next == nullptr || job.created < next->created)) next = &job;
    }
    if (next == nullptr) {
      changed_.wait(lock);
      continue;
    }
    const std::string id = next->id;
    lock.unlock();
    work_on(id);
    lock.lock();
  }
}

void Jobs::work_on(const std::string& id) {
  std::optional<ChildProcess> child;
  int code = 1;
  try {
    {
      const std::lock_guard lock(mutex_);
      Job& job = jobs_.at(id);
      if (stop_ || job.state != Job::State::Queued) return;
      job.state = Job::State::Running;
      save(job);
      child.emplace(job.arguments);
      running_ = child->id();
    }
    code = child->read([&](const std::string& line) { take_line(id, line); });
  } catch (const std::exception& e) {
    take_line(id, e.what());
  }
  finish(id, code);
}

void Jobs::take_line(const std::string& id, const std::string& line) {
  const std::lock_guard lock(mutex_);
  Job& job = jobs_.at(id);
  job.lines.push_back(line);
  if (job.lines.size() > kMostLines) job.lines.erase(job.lines.begin());
  tell(job, line);
}

void Jobs::finish(const std::string& id, int code) {
  const std::lock_guard lock(mutex_);
  running_ = -1;
  Job& job = jobs_.at(id);
  const bool was_cancelled = cancelled_.erase(id) > 0;
  if (code != 0 && stop_ && !was_cancelled) return;  // it is gone on with
  job.state = code == 0 ? Job::State::Succeeded : was_cancelled ? Job::State::Cancelled : Job::State::Failed;
  if (job.state == Job::State::Failed) job.error = job.lines.empty() ? cat("ended with ", code) : job.lines.back();
  job.finished = now_seconds();
  try {
    save(job);
  } catch (const Error& e) {
    job.error = e.what();
  }
  tell(job, {});
}

}  // namespace swage::server
