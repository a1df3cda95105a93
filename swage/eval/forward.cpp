#include "swage/eval/forward.h"

#include <ATen/Parallel.h>

#include <atomic>

namespace swage::eval {

void for_each_parallel(int64_t count, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) work(i);
  });
}

std::vector<model::Flow> embed_rows(const model::Model& model, const at::Tensor& ids_NL) {
  std::vector<model::Flow> flows(size_t(ids_NL.size(0)));
  for_each_parallel(ids_NL.size(0), [&](int64_t i) { flows[size_t(i)].hidden_TD = model.embed(ids_NL[i], 0); });
  return flows;
}

}  // namespace swage::eval
