// Keys and values of the tokens seen so far, for decoding.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>

namespace swage::model {

// One block's cache. H key-value heads, T tokens so far, E head size, C capacity in tokens.
struct KvCache {
  at::Tensor keys_HTE, values_HTE;      // undefined before the first token; views of the first T rows of the buffers
  std::map<size_t, at::Tensor> states;  // of recurrences and convolutions, by node of the block's program
  int64_t seen = 0;                     // tokens that went through the whole block

  int64_t tokens() const { return keys_HTE.defined() ? keys_HTE.size(1) : seen; }
  // Adds keys and values [t, H, E] of the next tokens. Copies only those: the capacity doubles when it is used up.
  void append(const at::Tensor& keys_THE, const at::Tensor& values_THE);
  // Forgets all but the first `tokens`; Error(InvalidArgument) if there are fewer, Error(Unsupported) with states,
  // which do not know their past.
  void truncate(int64_t tokens);

 private:
  at::Tensor key_buffer_HCE_, value_buffer_HCE_;
};

}  // namespace swage::model
