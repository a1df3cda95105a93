// The weights of a model of which only the config is there: none.
#pragma once
#include "swage/base/error.h"
#include "swage/checkpoint/weight_source.h"

namespace swage::checkpoint {

class NoWeights : public WeightSource {
 public:
  std::vector<int64_t> shape(const std::string&) const override { return {}; }
  at::Tensor load(const std::string& name) const override {
    throw Error(ErrorKind::Internal, cat(name, " was asked for, but there is a config only"));
  }
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string&) const override { return {}; }
  void prefetch(const std::vector<std::string>&) const override {}
};

}  // namespace swage::checkpoint
