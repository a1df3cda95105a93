// Signals that the server listens to.
#pragma once

namespace swage::server {

// While it lives, SIGTERM and SIGINT ask for an end and SIGHUP for reading keys again. One at a time.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int ends() const;    // how often an end was asked for
  bool take_hangup();  // whether SIGHUP came since the last call
};

}  // namespace swage::server
