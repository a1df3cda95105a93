// The output checkpoint: its layout, known before the first weight is solved, and what goes into it.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/writer.h"
#include "swage/format/quantized_weight.h"
#include "swage/format/weight_source.h"
#include "swage/model/model.h"
#include "swage/resolve/assignment.h"
#include "swage/resolve/source.h"
#include "swage/scheme/config_json.h"

namespace swage::pipeline {

struct OutputLayout {
  std::vector<io::TensorSpec> tensors;   // everything the output holds, in the order of the shards
  std::vector<std::string> copied;       // of these, the ones taken over bit for bit
  std::vector<std::string> dequantized;  // and the weights that the source holds encoded and the output as numbers
  // Biases out of tensors that hold those of several modules, which are quantized: they become tensors of their own.
  struct Bias {
    std::string name;
    graph::Stored stored;
    int64_t rows = 0;
  };
  std::vector<Bias> biases;
  uint64_t bytes = 0;
};

// Tensors of the source that no quantized module replaces are copied. Block by block, so that shards fill in order.
// Those named in `rewritten` keep their place and are put later, with other values; Error(Unsupported) for one that the
// source does not have by that name. What the source says of a quantization of its own is left out, and weights that it
// quantizes and the assignment does not become numbers.
OutputLayout output_layout(const checkpoint::Reader& reader, const format::CheckpointWeights& weights,
                           const model::Model& model, const Assignment& assignment,
                           const std::set<std::string>& rewritten);

// The dtype that scales of a module are stored in whose weight `tensor` holds: that of the tensor in the source, of the
// source's other weights where it has no float for it.
io::Dtype stored_dtype(const checkpoint::Reader& reader, const std::string& tensor);

// What a module takes with a scheme, its scales stored as `dtype`.
uint64_t stored_bytes(const scheme::Scheme& scheme, const model::ModuleInfo& module, io::Dtype dtype);

// Packs one module's weight in its scheme's format and writes it. Thread-safe.
void put_quantized(checkpoint::Writer& writer, const std::string& module, const scheme::Scheme& scheme,
                   const format::QuantizedWeight& weight);
// Copies the tensors named in `layout.copied`, and drops their pages; writes `layout.biases`.
void copy_untouched(const checkpoint::Reader& reader, const OutputLayout& layout, checkpoint::Writer& writer);
// `config` (that of the source, as the output needs it) with its quantization_config, `transforms` in it, and every
// tokenizer, template, code and licence file of the source folder; not its README.md, the card of another model.
void write_side_files(const Source& source, const Json& config, const Assignment& assignment,
                      const scheme::TransformGroups& transforms, const std::string& recipe_yaml,
                      checkpoint::Writer& writer);

// The same with a quantization_config that is given.
void write_side_files(const Source& source, const Json& source_config, const scheme::QuantizationConfig& quantization,
                      const std::string& recipe_yaml, checkpoint::Writer& writer);

// Whether g_idx says more than column / group size: readers leave out one that does not.
bool orders_columns(const format::QuantizedWeight& weight);
// A 64-bit digest of the codes, scales, zero points and g_idx: what is solved must be what is read back.
uint64_t fingerprint(const format::QuantizedWeight& weight);
// The same of a plain tensor.
uint64_t fingerprint(const at::Tensor& weight);

}  // namespace swage::pipeline
