// What every compressing run has around its work: the output folder with its lock, the journal of an earlier run that
// was interrupted or none, and what is said and kept when it ends before its time.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "swage/base/context.h"
#include "swage/base/error.h"
#include "swage/base/json.h"
#include "swage/checkpoint/writer.h"
#include "swage/job/compress_job.h"
#include "swage/job/steps.h"
#include "swage/report/report.h"
#include "swage/resolve/source.h"

namespace swage::pipeline {

// What the job, whatever it does, has for an identity: program, seed, recipe, source.
Json job_identity(const CompressJob& job, const Context& context, const Source& source);

// The member of a journal's first line that is no part of the identity: how the weight files were found, see
// Source::state().
inline constexpr const char* kWeightFiles = "weight files";

// Failures that the same command may overcome. After the others the work is of no use: another recipe or model is
// needed.
inline bool may_be_overcome(ErrorKind kind) { return kind == ErrorKind::Cancelled || kind == ErrorKind::Io; }

// The identity of an interrupted run with the job's output, if the job may go on with one and there is one.
std::optional<Json> identity_of_unfinished(const CompressJob& job);

class JournaledRun {
 public:
  using Work = std::function<Json(checkpoint::Writer&, Steps&)>;

  JournaledRun(const CompressJob& job, const Context& context, const Source& source)
      : job_(job),
        context_(context),
        source_(source) {}

  // Opens the folder, begins or goes on with the journal, does the work; returns what it returned. `modules` are filled
  // with those of the earlier run. Error(InvalidArgument) if an earlier run of another `identity` left work, or any run
  // if the job shall not resume.
  Json run(const Json& identity, const std::vector<io::TensorSpec>& tensors, const Work& work,
           std::vector<ModuleReport>& modules) const {
    return run(open_folder(), identity, tensors, work, modules);
  }
  // The same in a folder that is open already: a run that measures before it knows what it writes keeps that there, in
  // probes().
  Json run(checkpoint::OutputFolder folder, const Json& identity, const std::vector<io::TensorSpec>& tensors,
           const Work& work, std::vector<ModuleReport>& modules) const;
  checkpoint::OutputFolder open_folder() const;
  static std::filesystem::path probes(const checkpoint::OutputFolder& folder) { return folder.work() / "probes"; }

 private:
  void check_same(const checkpoint::OutputFolder& folder, const Journal& journal, const Json& identity) const;
  std::string changed_weights(const Journal& journal) const;

  const CompressJob& job_;
  const Context& context_;
  const Source& source_;
};

// Adds to an interruption or failure of the machine what is kept of the run and how to go on.
void say_what_is_kept(const CompressJob& job, Error& error);

}  // namespace swage::pipeline
