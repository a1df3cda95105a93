// Which programs load what is written: the dated matrix of docs/consumers.md, swage/scheme/consumers.json.
#pragma once
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/scheme/quantization.h"

namespace swage::scheme {

const Json& consumer_matrix();
// Of a scheme in it; nullptr if nothing is known of it.
const Json* consumers_of(const std::string& scheme);

// What one names with --for: "vllm", "vllm:hopper", "transformers".
struct Consumer {
  std::string name, gpu;  // "vllm", "hopper"; gpu may be empty
  std::string scheme;     // what is chosen for it
  double capability = 0;  // the GPU's; 0: not said
};
// Error(InvalidArgument) listing the known ones; Error(Unsupported) for llama.cpp, which reads GGUF.
Consumer parse_consumer(const std::string& text);
// Error(Unsupported) naming the versions and what would do if the consumer is known not to take the scheme.
void check_consumer(const Consumer& consumer, const std::string& scheme, const std::string& actorder);
// What is to be said of a file with this scheme, whoever reads it: readers that are known to refuse it, with their
// versions.
std::vector<std::string> consumer_warnings(const Scheme& scheme);
// The same of a file of this model_type that has `modules` in the scheme.
std::vector<std::string> family_warnings(const std::string& model_type, const Scheme& scheme,
                                         const std::vector<std::string>& modules);

}  // namespace swage::scheme
