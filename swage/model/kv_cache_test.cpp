#include "swage/model/kv_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "swage/base/error.h"

namespace swage::model {
namespace {

TEST(KvCache, GrowsWithoutLosingTokens) {
  KvCache cache;
  at::manual_seed(12);
  const at::Tensor k_THE = at::randn({200, 2, 4}), v_THE = at::randn({200, 2, 4});
  for (int64_t first = 0; first < 200;) {
    const int64_t count = std::min<int64_t>(200 - first, first % 7 + 1);
    cache.append(k_THE.narrow(0, first, count), v_THE.narrow(0, first, count));
    first += count;
    ASSERT_EQ(cache.tokens(), first);
  }
  EXPECT_TRUE(at::equal(cache.keys_HTE, k_THE.transpose(0, 1)));
  EXPECT_TRUE(at::equal(cache.values_HTE, v_THE.transpose(0, 1)));
}

TEST(KvCache, AppendMovesNoOldTokens) {
  KvCache cache;
  cache.append(at::randn({3, 2, 4}), at::randn({3, 2, 4}));
  const void* before = cache.keys_HTE.const_data_ptr();
  cache.append(at::randn({1, 2, 4}), at::randn({1, 2, 4}));
  EXPECT_EQ(cache.keys_HTE.const_data_ptr(), before);
}

TEST(KvCache, Truncates) {
  KvCache cache;
  const at::Tensor k_THE = at::randn({6, 2, 4});
  cache.append(k_THE, k_THE);
  cache.truncate(2);
  EXPECT_EQ(cache.tokens(), 2);
  cache.append(k_THE.narrow(0, 5, 1), k_THE.narrow(0, 5, 1));
  EXPECT_TRUE(at::equal(cache.keys_HTE[1][2], k_THE[5][1]));
  EXPECT_THROW(cache.truncate(9), Error);
}

}  // namespace
}  // namespace swage::model
