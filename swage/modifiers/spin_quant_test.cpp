#include "swage/modifiers/spin_quant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/modifiers/chain.h"

namespace swage::modifiers {
namespace {

using testing::HasSubstr;

void expect_refused(const char* modifier, const char* fields, ErrorKind kind, const char* part) {
  try {
    make_modifier(modifier, parse_json(fields, "fields"), "test");
    ADD_FAILURE() << fields;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << fields;
    EXPECT_THAT(e.what(), HasSubstr(part)) << fields;
  }
}

RotationRequest request_of(const char* fields) {
  const auto modifier = make_modifier("SpinQuantModifier", parse_json(fields, "fields"), "test");
  return dynamic_cast<const Rotator&>(*modifier).request();
}

TEST(SpinQuant, FieldsAndDefaultsAreLlmCompressors) {
  const RotationRequest plain = request_of("{}");
  EXPECT_TRUE(plain.stream && plain.heads && !plain.each_layer && !plain.block_size && !plain.seed);
  EXPECT_EQ(plain.kind, solvers::RotationKind::Hadamard);
  const RotationRequest other = request_of(
      R"({"rotations": ["r2"], "transform_type": "random-matrix", "randomize": true, "transform_block_size": 32,
      "precision": "torch.float32", "seed": 3})");
  EXPECT_TRUE(!other.stream && other.heads && other.each_layer);
  EXPECT_EQ(other.kind, solvers::RotationKind::RandomMatrix);
  EXPECT_EQ(other.block_size, 32);
  EXPECT_EQ(other.seed, 3u);
}

TEST(SpinQuant, WhatCannotBeIsRefused) {
  const char* const name = "SpinQuantModifier";
  expect_refused(name, R"({"rotations": ["R1", "R5"]})", ErrorKind::InvalidArgument,
                 "rotations: \"R5\": expected R1, R2, R3 or R4");
  expect_refused(name, R"({"rotations": []})", ErrorKind::InvalidArgument,
                 "rotations: expected some of R1, R2, R3 and R4");
  expect_refused(name, R"({"transform_type": "fourier"})", ErrorKind::InvalidArgument,
                 "transform_type \"fourier\": expected hadamard, random-hadamard or random-matrix");
  expect_refused(name, R"({"randomize": true})", ErrorKind::InvalidArgument, "use transform_type random-hadamard");
  expect_refused(name, R"({"learnable": true})", ErrorKind::Unsupported, "learnable");
  expect_refused(name, R"({"transform_block_size": 0})", ErrorKind::InvalidArgument, "transform_block_size 0");
  expect_refused(name, R"({"precision": "bfloat16"})", ErrorKind::InvalidArgument, "precision \"bfloat16\"");
  expect_refused(name, R"({"seed": -1})", ErrorKind::InvalidArgument, "seed -1");
  expect_refused(name, R"({"mappings": {"embedding": "x"}})", ErrorKind::Unsupported, "mappings");
  expect_refused(name, R"({"norm_mappings": []})", ErrorKind::Unsupported, "norm_mappings");
  expect_refused(name, R"({"transform_config": {"config_groups": {}}})", ErrorKind::Unsupported,
                 "transform_config: matrices at places of one's own choice are not written");
  expect_refused(name, R"({"rotation": ["R1"]})", ErrorKind::InvalidArgument, "rotations");
}

TEST(SpinQuant, OnlineRotationsAreAskedFor) {
  const RotationRequest all = request_of(R"({"rotations": ["R1", "R2", "r3", "R4"], "precision": "torch.float64"})");
  EXPECT_TRUE(all.stream && all.heads && all.keys && all.inner && all.is_online() && !all.inputs && !all.outputs);
  EXPECT_EQ(all.precision, "float64");
  EXPECT_FALSE(request_of("{}").is_online());
}

TEST(Quip, FieldsAndDefaultsAreLlmCompressors) {
  const auto make = [](const char* fields) {
    return make_modifier("QuIPModifier", parse_json(fields, "fields"), "test");
  };
  const auto
      plain = make("{}"),
      both = make(
          R"({"rotations": ["V", "u"], "targets": "re:.*q_proj$", "ignore": [], "transform_type": "hadamard", "transform_block_size": 64, "seed": 9})");
  const RotationRequest &v = dynamic_cast<const Rotator&>(*plain).request(),
                        &vu = dynamic_cast<const Rotator&>(*both).request();
  EXPECT_TRUE(v.inputs && !v.outputs && !v.stream && !v.heads && !v.keys && !v.inner && v.is_online());
  EXPECT_EQ(v.kind, solvers::RotationKind::RandomHadamard);
  EXPECT_EQ(v.targets, std::vector<std::string>{"Linear"});
  EXPECT_EQ(v.ignore, std::vector<std::string>{"lm_head"});
  EXPECT_TRUE(vu.inputs && vu.outputs && vu.ignore.empty());
  EXPECT_EQ(vu.kind, solvers::RotationKind::Hadamard);
  EXPECT_EQ(vu.targets, std::vector<std::string>{"re:.*q_proj$"});
  EXPECT_EQ(vu.block_size, 64);
  EXPECT_EQ(vu.seed, 9u);
  const auto again = make_modifier(both->name(), both->config(), "test");  // as a recipe that was written is read
  EXPECT_EQ(dynamic_cast<const Rotator&>(*again).request().targets, vu.targets);
}

TEST(Quip, WhatCannotBeIsRefused) {
  const char* const name = "QuIPModifier";
  expect_refused(name, R"({"rotations": ["w"]})", ErrorKind::InvalidArgument, "rotations: \"w\": expected u or v");
  expect_refused(name, R"({"rotations": []})", ErrorKind::InvalidArgument, "rotations: expected v, u or both");
  expect_refused(name, R"({"targets": []})", ErrorKind::InvalidArgument, "targets: expected linears");
  expect_refused(name, R"({"transform_type": "x"})", ErrorKind::InvalidArgument, "transform_type \"x\"");
  expect_refused(name, R"({"learnable": true})", ErrorKind::Unsupported, "learnable");
  expect_refused(name, R"({"randomize": true})", ErrorKind::Unsupported,
                 "randomize: matrices of its own for every linear are not made");
  expect_refused(name, R"({"transform_config": {"config_groups": {}}})", ErrorKind::Unsupported, "transform_config");
}

TEST(Chain, RotationsComeFirstAndOnce) {
  const auto chain_of = [](std::initializer_list<const char*> names) {
    std::vector<std::unique_ptr<Modifier>> modifiers;
    for (const char* name : names)
      modifiers.push_back(
          make_modifier(name, parse_json(name[0] == 'r' ? R"({"scheme": "W8A16"})" : "{}", "fields"), "test"));
    return make_chain(modifiers);
  };
  const Chain rotated = chain_of({"spinquant", "smoothquant", "rtn"});
  EXPECT_NE(rotated.rotator, nullptr);
  EXPECT_EQ(rotated.text(), "SpinQuantModifier, SmoothQuantModifier, QuantizationModifier");
  for (const auto& names : {std::initializer_list<const char*>{"smoothquant", "spinquant", "rtn"},
                            {"rtn", "spinquant"},
                            {"spinquant", "spinquant", "rtn"}}) {
    try {
      chain_of(names);
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
      EXPECT_THAT(e.what(), HasSubstr("weights are rotated once, before anything else is done to them; put it first"));
    }
  }
  EXPECT_THROW(chain_of({"spinquant"}), Error);  // quantizes nothing
}

}  // namespace
}  // namespace swage::modifiers
