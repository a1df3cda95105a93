#include "apps/server/signals.h"

#include <signal.h>

#include <array>
#include <atomic>

namespace swage::server {
namespace {

// A signal's handler can reach nothing else.
std::atomic<int> end_count{0}, hangup_count{0};
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void on_signal(int signal) {
  if (signal == SIGHUP)
    hangup_count.store(1);
  else
    end_count.fetch_add(1);
}

constexpr std::array<int, 3> kSignals = {SIGTERM, SIGINT, SIGHUP};
std::array<struct sigaction, 3> before;

}  // namespace

Signals::Signals() {
  end_count = 0, hangup_count = 0;
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &before[i]);
}

Signals::~Signals() {
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before[i], nullptr);
}

int Signals::ends() const { return end_count.load(); }

bool Signals::take_hangup() { return hangup_count.exchange(0) > 0; }

}  // namespace swage::server
