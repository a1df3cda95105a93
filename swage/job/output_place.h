// Where an output is to be: what speaks against it is known before any work.
#pragma once
#include <cstdint>
#include <filesystem>

#include "swage/base/context.h"
#include "swage/job/compress_job.h"

namespace swage::pipeline {

// What is wrong with the two folders of a job; the Writer checks again when it has the lock. Error(InvalidArgument) if
// the output would hold the source, or holds something and is not to be replaced. A dry run, which writes nothing, is
// only told of the latter.
void check_folders(const CompressJob& job, const Context& context);

// Error(Io) naming what is needed and what is free if the disk of `target`, which need not exist, has less than
// `bytes`. A run reserves its space when it begins; this is for those that only look.
void check_disk_space(const std::filesystem::path& target, uint64_t bytes);

}  // namespace swage::pipeline
