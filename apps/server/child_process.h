// A program beside this one, whose output is read line by line.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace swage::server {

// For one thread, but for interrupt(). Ends with this process (Linux), with what it was doing kept.
class ChildProcess {
 public:
  // Starts arguments[0]. Error(Io) if that fails.
  explicit ChildProcess(const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Takes each line of both of its outputs until they are closed; returns its exit code, 128 and more for a signal.
  int read(const std::function<void(const std::string&)>& line);
  pid_t id() const { return id_; }

 private:
  int wait();

  pid_t id_ = -1;
  int output_ = -1;
  bool is_over_ = false;
};

}  // namespace swage::server
