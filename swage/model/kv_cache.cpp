#include "swage/model/kv_cache.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "swage/base/error.h"

namespace swage::model {
namespace {

constexpr int64_t kFirstCapacity = 64;

at::Tensor grown(const at::Tensor& seen_HTE, int64_t capacity, const at::Tensor& like_THE) {
  at::Tensor buffer_HCE = at::empty({like_THE.size(1), capacity, like_THE.size(2)}, like_THE.options());
  if (seen_HTE.defined()) buffer_HCE.narrow(1, 0, seen_HTE.size(1)).copy_(seen_HTE);
  return buffer_HCE;
}

}  // namespace

void KvCache::append(const at::Tensor& keys_THE, const at::Tensor& values_THE) {
  const int64_t old = tokens(), added = keys_THE.size(0);
  const int64_t capacity = key_buffer_HCE_.defined() ? key_buffer_HCE_.size(1) : 0;
  if (old + added > capacity) {
    const int64_t larger = std::max({old + added, 2 * capacity, kFirstCapacity});
    key_buffer_HCE_ = grown(keys_HTE, larger, keys_THE);
    value_buffer_HCE_ = grown(values_HTE, larger, values_THE);
  }
  key_buffer_HCE_.narrow(1, old, added).copy_(keys_THE.transpose(0, 1));
  value_buffer_HCE_.narrow(1, old, added).copy_(values_THE.transpose(0, 1));
  keys_HTE = key_buffer_HCE_.narrow(1, 0, old + added);
  values_HTE = value_buffer_HCE_.narrow(1, 0, old + added);
}

void KvCache::truncate(int64_t kept) {
  SWAGE_CHECK(kept >= 0 && kept <= tokens(), InvalidArgument, "cannot keep ", kept, " tokens of a cache with ",
              tokens());
  SWAGE_CHECK(states.empty() || kept == tokens(), Unsupported,
              "a cache with states of a recurrence cannot forget tokens; begin a new one");
  seen = kept;
  if (!keys_HTE.defined()) return;
  keys_HTE = key_buffer_HCE_.narrow(1, 0, kept);
  values_HTE = value_buffer_HCE_.narrow(1, 0, kept);
}

}  // namespace swage::model
