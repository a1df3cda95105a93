#include "swage/data/framing.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <string>

namespace swage::data {

std::vector<int64_t> suffix_ids(const Tokenizer& tokenizer) {
  const std::vector<int64_t> plain = tokenizer.encode("a", false), with_special = tokenizer.encode("a", true);
  const auto start = std::search(with_special.begin(), with_special.end(), plain.begin(), plain.end());
  if (plain.empty() || start == with_special.end()) return {};
  return {start + std::ptrdiff_t(plain.size()), with_special.end()};
}

at::Tensor with_suffix(const at::Tensor& windows_NL, const std::vector<int64_t>& suffix) {
  if (suffix.empty()) return windows_NL;
  const int64_t rows = windows_NL.size(0), count = int64_t(suffix.size());
  return at::cat({windows_NL, at::tensor(suffix, at::kLong).expand({rows, count})}, 1);
}

std::optional<int64_t> mask_id(const Tokenizer& tokenizer) {
  for (const std::string& text :
       {tokenizer.special_tokens().get_string("mask_token", ""), std::string("[MASK]"), std::string("<mask>")}) {
    const std::vector<int64_t> ids = text.empty() ? std::vector<int64_t>() : tokenizer.encode(text, false);
    if (ids.size() == 1 && tokenizer.decode(ids, false) == text) return ids[0];
  }
  return {};
}

}  // namespace swage::data
