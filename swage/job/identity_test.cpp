#include "swage/job/identity.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/base/build_id.h"

namespace swage::pipeline {
namespace {

Json object(std::initializer_list<std::pair<const char*, Json>> members) {
  Json out = Json::object();
  for (const auto& [name, value] : members) out.set(name, value);
  return out;
}

TEST(Identity, DifferencesAreNamed) {
  const std::string recipe(100, 'r');
  const Json before = object({{"seed", 42}, {"recipe", recipe}, {"source", object({{"a", "1"}, {"b", "2"}})}});
  EXPECT_EQ(difference(before, before), "");
  EXPECT_EQ(difference(before,
                       object({{"seed", 43}, {"recipe", recipe + "x"}, {"source", object({{"a", "1"}, {"c", "3"}})}})),
            "seed (was 42, is 43); recipe; source: c (is new); b (is gone)");
}

// A build that calculates otherwise may bear the same version: the linker's digest of the code tells them apart.
TEST(Identity, KnowsItsBuild) { EXPECT_EQ(program_identity().at("build").as_string(), build_id()); }

TEST(Identity, DigestsTellShapesAndValuesApart) {
  const at::Tensor a = at::arange(6);
  EXPECT_EQ(digest_of(a), digest_of(at::arange(6)));
  EXPECT_NE(digest_of(a), digest_of(a.view({2, 3})));
  EXPECT_NE(digest_of(a), digest_of(a.add(1)));
  EXPECT_EQ(digest_of(at::Tensor()), "none");
  const std::vector<io::TensorSpec> specs{{"w", io::Dtype::U8, {2, 3}}};
  EXPECT_NE(digest_of(specs), digest_of(std::vector<io::TensorSpec>{{"w", io::Dtype::I8, {2, 3}}}));
  EXPECT_NE(digest_of(specs), digest_of(std::vector<io::TensorSpec>{{"w", io::Dtype::U8, {3, 2}}}));
}

}  // namespace
}  // namespace swage::pipeline
