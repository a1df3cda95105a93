// What tests of formats share: a module's tensors by their suffixes, and errors by what they say.
#pragma once
#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "swage/base/error.h"
#include "swage/format/format.h"

namespace swage::format {

using Stored = std::map<std::string, at::Tensor>;

inline TensorLookup lookup_in(Stored stored, std::string prefix = "") {
  return [stored = std::move(stored), prefix = std::move(prefix)](const std::string& suffix) {
    const auto found = stored.find(prefix + suffix);
    return found == stored.end() ? at::Tensor() : found->second;
  };
}

inline Stored packed(const Format& format, const scheme::QuantizationArgs& args, const QuantizedWeight& weight) {
  Stored stored;
  for (const auto& [suffix, tensor] : format.pack(args, weight)) stored[suffix] = tensor;
  return stored;
}

template <class Call>
void expect_error(ErrorKind kind, const std::string& says, Call call) {
  try {
    call();
    ADD_FAILURE() << "no error that says " << says;
  } catch (const Error& error) {
    EXPECT_EQ(name_of(error.kind()), name_of(kind)) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(says));
  }
}

// Something broken that is made of one tensor.
struct Damage {
  std::string suffix;
  std::function<at::Tensor(const at::Tensor&)> change;  // undefined: the tensor is missing
  std::string says;
};

const inline auto kMissing = [](const at::Tensor&) { return at::Tensor(); };
const inline auto kShorter = [](const at::Tensor& t) { return t.slice(0, 0, t.size(0) - 1); };
const inline auto kNarrower = [](const at::Tensor& t) { return t.slice(1, 0, t.size(1) - 1); };
const inline auto kFlat = [](const at::Tensor& t) { return t.flatten(); };
inline std::function<at::Tensor(const at::Tensor&)> as(at::ScalarType type) {
  return [type](const at::Tensor& t) { return t.to(type); };
}

}  // namespace swage::format
