#include "apps/cli/environment.h"

#include <malloc.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "swage/base/error.h"

namespace swage::cli {
namespace {

constexpr int kWide = 1000;  // columns of a file

std::atomic<bool> interrupted = false, answer_interrupted = false;

void on_interrupt(int signal) {
  interrupted = true;
  std::signal(signal, SIG_DFL);
}

std::optional<std::string> variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace

HubSettings hub_settings() {
  HubSettings settings;
  settings.variable = variable;
  return settings;
}

void add_gpu_settings(Device& device) {
  device.torch_folder = variable("SWAGE_TORCH").value_or("");
  const std::string products = variable("SWAGE_GPU_PRODUCTS").value_or("");
  SWAGE_CHECK(products.empty() || products == "bf16" || products == "f32", InvalidArgument,
              "SWAGE_GPU_PRODUCTS=", products, ": expected bf16 or f32");
  device.f32_products = products == "f32";
}

const std::atomic<bool>& catch_interrupts() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    if (std::signal(signal, on_interrupt) == SIG_IGN)
      std::signal(signal, SIG_IGN);  // nohup and shells' background jobs mean it
  }
  std::signal(SIGPIPE, SIG_IGN);  // who reads the progress may stop reading; the run goes on
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit then shows as a failed write, which names the file
  return interrupted;
}

void check_results_are_written() {
  errno = 0;
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout) != 0;
  const std::string reason = errno == 0 ? "" : cat(": ", std::strerror(errno));
  struct stat status{};
  if (!failed || ::fstat(STDOUT_FILENO, &status) != 0 || S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)) return;
  throw Error(ErrorKind::Io, cat("standard output: the result could not be written", reason));
}

std::atomic<bool>& catch_interrupts_of_answers() {
  struct sigaction action = {};
  action.sa_handler = [](int) { answer_interrupted = true; };
  sigaction(SIGINT, &action, nullptr);  // without SA_RESTART: a read() that waits ends
  return answer_interrupted;
}

void keep_freed_memory() {
  mallopt(M_ARENA_MAX, 1);             // what each thread's own arena keeps beside the others' is in no plan
  mallopt(M_MMAP_THRESHOLD, 4 << 20);  // Gram matrices and the like go back at once
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

void give_freed_memory_back() {
  mallopt(M_MMAP_THRESHOLD, 128 << 10);  // what the steps of a short row take, too
  mallopt(M_TRIM_THRESHOLD, 16 << 20);
}

void bound_spinning() {
  // libgomp's own 300 000 turns are milliseconds, in which a thread takes the processor from the one it waits for
  // wherever other programs run. A thousand are the microseconds within which the other one comes if it is running;
  // else the kernel wakes the sleeper.
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) setenv("GOMP_SPINCOUNT", "1000", /*overwrite=*/0);
}

bool stderr_is_terminal() { return isatty(STDERR_FILENO) != 0; }

bool terminal_is_dumb() { return variable("TERM") == "dumb"; }

int output_columns() {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0) return kWide;
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

int help_columns() {
  if (isatty(STDOUT_FILENO) != 0) return output_columns();
  const int given = std::atoi(variable("COLUMNS").value_or("").c_str());
  return given > 0 ? given : 80;
}

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace swage::cli
