#include "swage/job/output_place.h"

#include <system_error>

#include "swage/base/amounts.h"
#include "swage/base/error.h"
#include "swage/checkpoint/output_folder.h"

namespace swage::pipeline {

namespace fs = std::filesystem;

void check_folders(const CompressJob& job, const Context& context) {
  std::error_code error;
  const fs::path source = fs::weakly_canonical(job.source, error),
                 target = fs::weakly_canonical(fs::absolute(job.target), error);
  const fs::path inside = source.lexically_relative(target);
  SWAGE_CHECK(inside.empty() || *inside.begin() == "..", InvalidArgument, job.target.string(),
              ": the output folder holds the source model, which is never overwritten; give another folder");
  if (!job.dry_run || job.overwrite) return checkpoint::OutputFolder::check_target(job.target, job.overwrite);
  const bool occupied = fs::is_directory(target, error) && !fs::is_empty(target, error);
  if (occupied)
    context.log(Severity::Info,
                cat(job.target.string(), ": exists and is not empty; the run itself will need --overwrite"));
}

void check_disk_space(const fs::path& target, uint64_t bytes) {
  std::error_code error;
  fs::path folder = fs::absolute(target, error);
  while (!fs::exists(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
  const fs::space_info space = fs::space(folder, error);
  if (error) return;  // a place that says nothing of itself is tried by the run
  SWAGE_CHECK(space.available >= bytes, Io, target.string(), ": ", bytes_text(int64_t(bytes)),
              " needed for the output, ", bytes_text(int64_t(space.available)),
              " free; give an output folder on another disk");
}

}  // namespace swage::pipeline
