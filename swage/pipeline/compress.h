// The whole job: plan, run, write, check. Called by the public API.
#pragma once
#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/job/compress_job.h"

namespace swage::pipeline {

// Returns the report. Nothing appears at `target` unless everything succeeded. A run that was interrupted, or failed
// for reasons of the machine (Error(Io), out of memory, killed), is gone on with by the next run of the same job;
// Error(InvalidArgument) naming what differs if that is another job.
Json run_compress(const CompressJob& job, const Context& context);

}  // namespace swage::pipeline
