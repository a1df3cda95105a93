// The end of a text by what stands in it, wherever the borders of tokens are.
#pragma once
#include <string>
#include <vector>

namespace swage::runtime {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  // Takes the next piece of text; returns what is certainly before any stop string. What may be the beginning of one
  // waits.
  std::string push(const std::string& piece);
  // What still waits: no stop string came.
  std::string finish();
  // Whether one came, the first of the text, and which. Nothing is taken after it.
  bool is_stopped() const { return !found_.empty(); }
  const std::string& found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string waiting_, found_;
};

}  // namespace swage::runtime
