#include "swage/eval/forward.h"

#include "swage/base/memory.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::eval {

void for_each_parallel(int64_t count, const std::function<void(int64_t)>& work) {
  ops::parallel_tasks(count, [] { return 0; }, [&](int64_t i, int) { work(i); });
}

void for_each_parallel(at::Device device, int64_t count, const std::function<void(int64_t)>& work) {
  if (device.is_cpu()) return for_each_parallel(count, work);
  for (int64_t i = 0; i < count; ++i) work(i);
}

std::vector<model::Flow> embed_rows(const model::Model& model, const at::Tensor& ids_NL) {
  std::vector<model::Flow> flows(size_t(ids_NL.size(0)));
  for_each_parallel(ids_NL.size(0), [&](int64_t i) { flows[size_t(i)].hidden_TD = model.embed(ids_NL[i], 0); });
  return flows;
}

void run_blocks(model::Model& model, const checkpoint::WeightSource& weights, std::vector<model::Flow>& flows,
                const Context& context, const std::function<void(int64_t)>& done) {
  for (int64_t b = 0; b < model.blocks(); ++b) {
    context.check_cancelled();
    if (b + 1 < model.blocks()) weights.prefetch(model.tensors_of_block(b + 1));
    auto block = model.load_block(b, weights);
    for_each_parallel(flows[0].hidden_TD.device(), int64_t(flows.size()),
                      [&](int64_t i) { block->forward(flows[size_t(i)]); });
    block.reset();
    release_free_memory();
    done(b);
  }
}

}  // namespace swage::eval
