// Running many sequences through the blocks of a model, one sequence to a thread.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "swage/base/context.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/model/model.h"

namespace swage::eval {

// Calls work(i) for i in [0, count), each once, on all threads; a thread takes the next free index. Inside, ATen runs
// on one thread, so results do not depend on how many there are. The first exception is rethrown.
void for_each_parallel(int64_t count, const std::function<void(int64_t)>& work);
// The same for work on a device: on a GPU in this thread, in order, since what it queues runs one after the other there
// anyway and each thread more would hold another sequence's memory.
void for_each_parallel(at::Device device, int64_t count, const std::function<void(int64_t)>& work);

// ids_NL int64 -> one flow a row, embedded. The model's ends must be loaded.
std::vector<model::Flow> embed_rows(const model::Model& model, const at::Tensor& ids_NL);

// Token ids with what belongs to them, int64; undefined: there is none. N rows of T tokens.
struct Inputs {
  at::Tensor ids_NT;
  at::Tensor mask_NT;        // 1 where a token counts, 0 where a row is padded, at its end or its beginning
  at::Tensor types_NT;       // token types
  at::Tensor target_ids_NU;  // of an encoder-decoder model
};
// A row without its padding.
struct Unpadded {
  model::Flow flow;
  int64_t first = 0;  // of the row's positions, that it begins with
};
// Row `row`. Error(Unsupported) where tokens within a row are masked, and for inputs that the model does not take;
// Error(InvalidArgument) where one that it needs is missing or a row is all padding.
Unpadded embed_row(const model::Model& model, const Inputs& inputs, int64_t row);

// Takes every flow through all blocks, which are loaded one after the other. Calls done(block) after each.
void run_blocks(model::Model& model, const checkpoint::WeightSource& weights, std::vector<model::Flow>& flows,
                const Context& context, const std::function<void(int64_t)>& done);

}  // namespace swage::eval
