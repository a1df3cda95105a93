// Any text as a model's config.json: a model by its sizes, whose parts agree, or a refusal.
#include "fuzz/support.h"
#include "swage/base/json.h"
#include "swage/checkpoint/no_weights.h"
#include "swage/model/model.h"

namespace {

using namespace swage;

void check(const model::Model& model) {
  const model::ModelShape shape = model.shape();
  fuzz::expect(int64_t(shape.blocks.size()) == model.blocks() && shape.hidden_size == model.hidden_size());
  fuzz::expect(shape.parameters() > 0 && shape.modules().size() == model.modules().size());
  int64_t required = 0;
  for (const io::TensorSpec& tensor : model.required_tensors()) {
    int64_t elements = 1;
    for (const int64_t size : tensor.shape) elements *= size;
    fuzz::expect(elements > 0);
    required += elements;
  }
  // What is copied and never computed with (a vision tower, layers that draft tokens) is in no list of tensors.
  fuzz::expect(required == shape.parameters() - shape.side_parameters);
  fuzz::expect(!model.tensors_of_block(model.blocks() - 1).empty());
  model.smoothing_pairs(0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::initializer_list<ErrorKind> refusals = {ErrorKind::CorruptData, ErrorKind::Unsupported};
  fuzz::refuses_or_reads(refusals, [&] {
    const Json config = parse_json({reinterpret_cast<const char*>(data), size}, "config.json");
    fuzz::refuses_or_reads(refusals, [&] { check(*model::make_model(config, checkpoint::NoWeights())); });
    fuzz::refuses_or_reads(refusals, [&] {
      const graph::ModelProgram program = model::make_program(config, checkpoint::NoWeights());
      fuzz::expect(graph::shape_of(program).parameters() > 0 && !graph::text_of(program).empty());
    });
  });
  return 0;
}
