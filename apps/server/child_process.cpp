#include "apps/server/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "swage/base/error.h"

namespace swage::server {
namespace {

constexpr int kNiceness = 10;            // inference goes on
constexpr size_t kMostLineBytes = 8192;  // of a line, which then counts as two
constexpr int kNotStarted = 127;

// Between fork and exec nothing may be called that takes a lock.
[[noreturn]] void become(char* const* arguments, int output) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setpgid(0, 0);                    // a terminal's Ctrl-C is for the server
  prctl(PR_SET_PDEATHSIG, SIGINT);  // keeps what is finished
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  ::close(STDIN_FILENO);
  if (nice(kNiceness) == -1) errno = 0;  // then not
  execv(arguments[0], arguments);
  ::_exit(kNotStarted);  // check_layers: allow print
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments) {
  std::vector<char*> pointers;
  for (const std::string& one : arguments) pointers.push_back(const_cast<char*>(one.c_str()));
  pointers.push_back(nullptr);
  std::array<int, 2> ends{};
  SWAGE_CHECK(pipe2(ends.data(), O_CLOEXEC) == 0, Io, "no pipe: ", std::strerror(errno));
  id_ = fork();
  if (id_ == 0) become(pointers.data(), ends[1]);
  const int error = errno;
  ::close(ends[1]);
  output_ = ends[0];
  if (id_ < 0) {
    ::close(output_);
    throw Error(ErrorKind::Io, cat("no process: ", std::strerror(error)));
  }
}

ChildProcess::~ChildProcess() {
  if (!is_over_) {
    kill(id_, SIGKILL);
    wait();
  }
  ::close(output_);
}

int ChildProcess::wait() {
  int status = 0;
  while (waitpid(id_, &status, 0) < 0 && errno == EINTR) {
  }
  is_over_ = true;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int ChildProcess::read(const std::function<void(const std::string&)>& line) {
  std::string waiting;
  std::array<char, 4096> part{};
  for (;;) {
    const ssize_t count = ::read(output_, part.data(), part.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    waiting.append(part.data(), size_t(count));
    for (size_t end = waiting.find_first_of("\r\n"); end != std::string::npos; end = waiting.find_first_of("\r\n")) {
      if (end > 0) line(waiting.substr(0, end));
      waiting.erase(0, end + 1);
    }
    if (waiting.size() > kMostLineBytes) {
      line(waiting);
      waiting.clear();
    }
  }
  if (!waiting.empty()) line(waiting);
  return wait();
}

}  // namespace swage::server
