#include "swage/job/journaled_run.h"

#include <filesystem>
#include <optional>
#include <utility>

#include "swage/base/version.h"
#include "swage/job/identity.h"
#include "swage/job/journal.h"

namespace swage::pipeline {

Json job_identity(const CompressJob& job, const Context& context, const Source& source) {
  Json out = Json::object();
  out.set("swage", kVersion);
  out.set("program", program_identity());
  out.set("seed", int64_t(context.seed));
  if (!context.architecture.empty()) out.set("architecture", context.architecture);
  out.set("recipe", job.recipe_yaml);
  out.set("source", source.identity());
  return out;
}

std::optional<Json> identity_of_unfinished(const CompressJob& job) {
  const std::filesystem::path work = checkpoint::OutputFolder::unfinished_work(job.target);
  if (work.empty() || !job.resume || job.restart) return {};
  const Journal journal(work / "journal");
  if (!journal.begun()) return {};
  Json identity = journal.header();
  identity.erase(kWeightFiles);
  return identity;
}

checkpoint::OutputFolder JournaledRun::open_folder() const {
  checkpoint::OutputFolder folder(job_.target, job_.overwrite);
  if (!folder.holds_unfinished_run()) return folder;
  std::error_code ignored;
  if (job_.restart) folder.clear();
  if (job_.restart && std::filesystem::remove(probes(folder), ignored)) folder.keep(false);
  SWAGE_CHECK(job_.restart || job_.resume, InvalidArgument, job_.target.string(),
              ": an unfinished run with this output is kept in ", folder.work().string(),
              "; the same command without --no-resume goes on with it, --restart throws it away");
  return folder;
}

void JournaledRun::check_same(const checkpoint::OutputFolder& folder, const Journal& journal,
                              const Json& identity) const {
  if (!journal.begun()) return;
  Json kept = journal.header();
  kept.erase(kWeightFiles);
  std::string changed = difference(kept, identity);
  if (changed.empty()) changed = changed_weights(journal);
  SWAGE_CHECK(changed.empty(), InvalidArgument, job_.target.string(),
              ": an unfinished run with this output is kept in ", folder.work().string(),
              ", but it is not the same: ", changed,
              "; --restart throws it away, another output folder leaves it alone");
}

// What the earlier run read is compared with what lies there now, unless the files tell that nobody wrote to them.
std::string JournaledRun::changed_weights(const Journal& journal) const {
  for (const Json& entry : journal.entries()) {
    if (const Json* read = entry.find("read")) source_.log().restore(*read);
  }
  const Json* state = journal.header().find(kWeightFiles);
  if (state != nullptr && *state == source_.state()) return {};
  const std::string changed = source_.changed_weights();
  return changed.empty() ? changed : cat("source: ", changed);
}

Json JournaledRun::run(checkpoint::OutputFolder folder, const Json& identity,
                       const std::vector<io::TensorSpec>& tensors, const Work& work,
                       std::vector<ModuleReport>& modules) const {
  Journal journal(folder.journal());
  check_same(folder, journal, identity);
  checkpoint::Writer writer(std::move(folder), tensors,
                            {.shard_bytes = job_.max_shard_size,
                             .overwrite = job_.overwrite,
                             .resume = journal.begun(),
                             .trace = context_.trace});
  try {
    Json header = identity;
    header.set(kWeightFiles, source_.state());
    Steps steps(job_.resume ? &journal : nullptr, std::move(header), writer, source_.log(), modules);
    if (steps.resumed())
      context_.log(Severity::Info,
                   cat("an interrupted run is gone on with: ", journal.entries().size(), " steps are finished"));
    return work(writer, steps);
  } catch (const Error& e) {
    if (!may_be_overcome(e.kind())) writer.keep(false);
    throw;
  }
}

void say_what_is_kept(const CompressJob& job, Error& error) {
  if (!may_be_overcome(error.kind())) return;
  const std::filesystem::path work = checkpoint::OutputFolder::unfinished_work(job.target);
  if (!work.empty()) {
    error.add_context(cat("what is finished is kept in ", work.string(), ": the same command goes on from there"));
  } else if (error.kind() == ErrorKind::Cancelled) {
    error.add_context(cat("nothing was kept: ", job.target.string(), " was not made and partial files were removed"));
  }
}

}  // namespace swage::pipeline
