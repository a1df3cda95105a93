// The steps of a run that are finished: written, durable and noted in the journal, so that they need not be done again.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "swage/checkpoint/read_log.h"
#include "swage/checkpoint/writer.h"
#include "swage/job/journal.h"
#include "swage/report/report.h"

namespace swage::pipeline {

// For one thread.
class Steps {
 public:
  // With a journal that is begun: takes up what it says is done, into `writer` and `modules`. Otherwise the first step
  // to be finished begins it with `header`. What was read of the source until a step was finished is noted with it.
  // Without one (nullptr) nothing is kept. All must outlive this.
  Steps(Journal* journal, Json header, checkpoint::Writer& writer, checkpoint::ReadLog& log,
        std::vector<ModuleReport>& modules);

  bool finished(const std::string& step) const { return finished_.contains(step); }
  // Whether an earlier run finished any.
  bool resumed() const { return resumed_; }
  // Everything that was written, and every module that was reported, since the last call belongs to `step`. Returns
  // when it is on the disk.
  void finish(const std::string& step);
  // The same for work that keeps its own account: `account` is all that is noted, and comes back in accounts().
  void finish_part(const std::string& step, Json account);
  // What earlier runs noted that way; they do not count as finished(). Their tensors are not restored.
  const std::vector<Json>& accounts() const { return accounts_; }
  bool keeps() const { return journal_ != nullptr; }

 private:
  void append(Json entry);

  Journal* journal_;
  const Json header_;
  checkpoint::Writer& writer_;
  checkpoint::ReadLog& log_;
  std::vector<ModuleReport>& modules_;
  std::set<std::string> finished_;
  std::vector<Json> accounts_;
  size_t noted_ = 0;  // modules
  bool resumed_ = false;
};

// "block 3"
std::string block_step(int64_t block);

}  // namespace swage::pipeline
