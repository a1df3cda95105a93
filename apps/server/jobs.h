// Compressions asked for over HTTP. Each is a run of `swage compress` in a process of its own, one at a time, that goes
// on where it was after a restart of the server; what is known of it lies in a folder of its own.
#pragma once
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "swage/swage.h"

namespace swage::server {

struct JobOptions {
  std::string folder;                    // of all jobs; empty: none are taken
  std::vector<std::string> model_roots;  // folders below which models lie
  std::vector<std::string> data_roots;   // and texts
  std::string max_memory;                // "4GiB": of each; empty: no bound
  std::string program;                   // swage itself
};

struct Job {
  enum class State { Queued, Running, Succeeded, Failed, Cancelled };
  std::string id;
  State state = State::Queued;
  int64_t created = 0, finished = 0;   // seconds since 1970; 0: not yet
  Json request;                        // as it was asked for
  std::vector<std::string> arguments;  // of the program
  std::string error;                   // of a failed one: its last line
  std::vector<std::string> lines;      // what it said last
};

// What happens to a job: a line, or its end.
using JobListener = std::function<bool(const Job& job, const std::string& line)>;

// Thread-safe.
class Jobs {
 public:
  // Reads what is in the folder and goes on with what was not finished. `log`: who is told of what cannot be read.
  Jobs(JobOptions options, const std::function<void(const std::string&)>& log);
  ~Jobs();
  // Interrupts the one that runs, which is gone on with next time, and ends what listeners hear.
  void stop();

  // Error(InvalidArgument) naming what cannot be: models and texts outside the roots, options that are not passed on.
  Job create(const Json& request);
  // What was uploaded, as a text for later jobs; returns its name.
  std::string keep(const std::string& contents);
  std::vector<Job> list() const;
  Job get(const std::string& id) const;  // Error(InvalidArgument) for none
  Job cancel(const std::string& id);
  Json report(const std::string& id) const;  // of a finished one
  // Called with every line from now on and at the end (an empty line), until it returns false.
  void listen(const std::string& id, JobListener listener);

 private:
  void load(const std::function<void(const std::string&)>& log);
  void run();
  void work_on(const std::string& id);
  void take_line(const std::string& id, const std::string& line);
  void finish(const std::string& id, int code);
  void tell(const Job& job, const std::string& line);
  void save(const Job& job) const;
  const Job& known(const std::string& id) const;

  const JobOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Job> jobs_;
  std::multimap<std::string, JobListener> listeners_;
  int64_t running_ = -1;  // process; -1: none
  bool stop_ = false;
  std::set<std::string> cancelled_;
  std::thread thread_;
};

const char* name_of(Job::State state);
// {"id", "object": "compression", "status", "created_at", "finished_at", "request", "error", "log"}
Json to_json(const Job& job);
bool is_over(Job::State state);
// The arguments of `swage compress` for a request. Error(InvalidArgument).
std::vector<std::string> compress_arguments(const JobOptions& options, const Json& request,
                                            const std::filesystem::path& folder);

}  // namespace swage::server
