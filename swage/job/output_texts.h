// What lies beside the weights for people: swage_report.json, the same as a page, and a model card.
#pragma once
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/checkpoint/writer.h"
#include "swage/io/tensor_spec.h"
#include "swage/job/compress_job.h"
#include "swage/resolve/assignment.h"

namespace swage::pipeline {

// Adds to a report when it was made, the command that makes the same again, the sizes of the output's parts, and its
// data file.
void add_provenance(const CompressJob& job, uint64_t seed, const std::vector<io::TensorSpec>& tensors, Json& report);
// The command that makes the same output again, in the output's own recipe.
std::string command_again(const CompressJob& job, uint64_t seed);
// Adds what readers are known to refuse of the assignment's schemes, each text once.
void add_warnings_of_readers(const Assignment& assignment, const std::string& model_type,
                             std::vector<std::string>& warnings);
// Puts the three files into the output.
void write_texts(const CompressJob& job, const Json& report, checkpoint::Writer& writer);

}  // namespace swage::pipeline
