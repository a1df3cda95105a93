#include "swage/schedule/probe_store.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "swage/io/test_files.h"

namespace swage::pipeline {
namespace {

MeasuredBlocks measured() {
  at::manual_seed(3);
  MeasuredBlocks out;
  out.blocks = 2;
  out.errors = {{0.1, 1e-300}, {-0.0, 3}, {std::numeric_limits<double>::denorm_min(), 7}};
  for (int s = 0; s < 2; ++s) out.base.push_back(at::randn({5, 8}));
  out.probes.resize(3);
  for (const size_t unit : {0, 2}) {
    for (int s = 0; s < 2; ++s) out.probes[unit].push_back(at::randn({5, 8}));
  }
  return out;
}

TEST(ProbeStore, GivesBackWhatWasMeasuredBitForBit) {
  const io::test::TempFolder folder;
  int saves = 0;
  ProbeStore store(folder / "probes", "job", [&] { ++saves; });
  EXPECT_FALSE(store.load().has_value());
  const MeasuredBlocks wanted = measured();
  store.save(wanted);
  EXPECT_EQ(saves, 1);
  const auto found = store.load();
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->blocks, 2);
  EXPECT_EQ(found->errors, wanted.errors);
  for (size_t s = 0; s < 2; ++s) EXPECT_TRUE(at::equal(found->base[s], wanted.base[s]));
  EXPECT_TRUE(found->probes[1].empty());
  for (const size_t unit : {0, 2}) {
    for (size_t s = 0; s < 2; ++s) EXPECT_TRUE(at::equal(found->probes[unit][s], wanted.probes[unit][s]));
  }
}

TEST(ProbeStore, AnotherJobsOrADamagedOneIsMeasuredAgain) {
  const io::test::TempFolder folder;
  ProbeStore store(folder / "probes", "job", {});
  store.save(measured());
  EXPECT_FALSE(ProbeStore(folder / "probes", "another", {}).load().has_value());
  const std::string whole = io::test::contents_of(folder / "probes");
  for (size_t i = 0; i < whole.size(); i += 97) {
    std::string broken = whole;
    broken[i] ^= 1;
    folder.write("probes", broken);
    EXPECT_FALSE(store.load().has_value()) << i;
  }
  for (size_t length = 0; length < whole.size(); length += 61) {
    folder.write("probes", whole.substr(0, length));
    EXPECT_FALSE(store.load().has_value()) << length;
  }
}

}  // namespace
}  // namespace swage::pipeline
