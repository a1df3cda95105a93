#include "swage/shards/model_free_layout.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "swage/base/error.h"
#include "swage/observers/observer.h"
#include "swage/resolve/activation_scales.h"

namespace swage::pipeline {
namespace {

// Values of a chunk: what is read, computed and written stays in a core's second-level cache.
constexpr int64_t kChunkValues = 1 << 18;
constexpr int64_t kCopyBytes = 1 << 20;
// Where so many rows fit, a chunk has a multiple of them.
constexpr int64_t kEvenRows = 32;

// Rows that must stay together: those of a block, and those whose packed zero points are whole words of 32 bits.
int64_t row_step(const scheme::QuantizationArgs& args) {
  const int64_t words = args.symmetric ? 1 : 32 / std::gcd<int64_t, int64_t>(32, args.num_bits);
  return args.strategy == scheme::Strategy::Block ? std::lcm(words, args.block_structure->first) : words;
}

// As many as a chunk's values allow, and no fewer than must stay together: a row may be longer than a chunk.
int64_t rows_of_chunk(int64_t columns, int64_t step) {
  const int64_t rows = kChunkValues / columns, even = std::lcm(kEvenRows, step);
  return rows >= even ? rows / even * even : std::max<int64_t>(1, rows / step) * step;
}

// A scale for the whole weight needs all of it at once, and so does an observer that stops searching when no group
// gains any more.
bool is_separable(const scheme::QuantizationArgs& args) {
  const bool searches = args.observer && !observers::is_min_max(args, observers::Role::Weight);
  SWAGE_CHECK(!searches || args.strategy != scheme::Strategy::TensorGroup, Unsupported, "model-free: observer ",
              *args.observer, " with a global scale needs a model; leave the observer out");
  return args.strategy != scheme::Strategy::Tensor && !searches;
}

FreeItem module_item(const SourceModule& module, const scheme::Scheme& scheme) {
  const int64_t rows = module.info.rows, columns = module.info.columns, step = row_step(*scheme.weights);
  FreeItem item;
  item.module = &module;
  item.scheme = &scheme;
  item.tensor = module.tensor;
  item.rows = rows;
  item.chunk_rows = is_separable(*scheme.weights) ? rows_of_chunk(columns, step) : rows;
  const format::Format& format = format::format_for(scheme);
  const auto specs = [&](int64_t count) {
    return format.specs(*scheme.weights, count, columns, scale_dtype_of(*scheme.weights, module.dtype));
  };
  const std::vector<io::TensorSpec> whole = specs(rows), one = specs(step), two = specs(2 * step);
  for (size_t i = 0; i < whole.size(); ++i) {
    OutputTensor& output = item.outputs.emplace_back();
    output.spec = whole[i];
    output.spec.name = module.info.name + "." + whole[i].name;
    output.bytes = io::data_bytes(whole[i]);
    if (is_separable(*scheme.weights))
      output.bytes_per_chunk =
          (io::data_bytes(two[i]) - io::data_bytes(one[i])) * uint64_t(item.chunk_rows) / uint64_t(step);
  }
  return item;
}

// A matrix out of a 3-D tensor of which others are quantized.
FreeItem copied_module(const SourceModule& module) {
  const int64_t row_bytes = module.info.columns * io::bits_of(module.stored) / 8;
  FreeItem item;
  item.module = &module;
  item.tensor = module.tensor;
  item.rows = module.info.rows;
  item.chunk_rows = std::max<int64_t>(1, kCopyBytes / row_bytes);
  const io::TensorSpec spec{module.info.name + ".weight", module.stored, {module.info.rows, module.info.columns}};
  item.outputs.push_back({spec, io::data_bytes(spec), uint64_t(item.chunk_rows * row_bytes)});
  return item;
}

FreeItem copied_item(const io::TensorSpec& spec) {
  FreeItem item;
  item.tensor = spec.name;
  item.rows = int64_t(io::data_bytes(spec));
  item.chunk_rows = kCopyBytes;
  item.outputs.push_back({spec, uint64_t(item.rows), kCopyBytes});
  return item;
}

using ModulesOfTensor = std::map<std::string, std::vector<const SourceModule*>>;

// By source tensor: the modules that replace it, in its order. Where one expert of a layer is quantized all are written
// one by one.
ModulesOfTensor modules_to_write(const SourceModules& modules, const Assignment& assignment) {
  const auto parent = [](const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); };
  std::set<std::string> replaced;  // parents of tensors
  for (const SourceModule& module : modules.modules) {
    if (assignment.find(module.info.name) == nullptr) continue;
    SWAGE_CHECK(module.obstacle.empty(), Unsupported, module.info.name, ": ", module.obstacle, "; add it to ignore");
    replaced.insert(parent(module.tensor));
  }
  ModulesOfTensor out;
  for (const SourceModule& module : modules.modules) {
    if (!module.tensor.empty() && replaced.contains(parent(module.tensor))) out[module.tensor].push_back(&module);
  }
  for (auto& [tensor, list] : out)
    std::sort(list.begin(), list.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  return out;
}

}  // namespace

std::vector<io::TensorSpec> FreeLayout::tensors() const {
  std::vector<io::TensorSpec> out;
  for (const FreeItem& item : items) {
    for (const OutputTensor& output : item.outputs) out.push_back(output.spec);
  }
  return out;
}

const FreeItem& FreeLayout::item_of(int64_t chunk) const {
  const auto after = std::upper_bound(items.begin(), items.end(), chunk,
                                      [](int64_t number, const FreeItem& item) { return number < item.first_chunk; });
  return *(after - 1);
}

Piece FreeLayout::piece(const FreeItem& item, const OutputTensor& output, int64_t chunk) const {
  const uint64_t index = uint64_t(chunk - item.first_chunk);
  if (output.bytes_per_chunk == 0) return {0, index == 0 ? output.bytes : 0};
  const uint64_t offset = std::min(index * output.bytes_per_chunk, output.bytes);
  return {offset, std::min(output.bytes_per_chunk, output.bytes - offset)};
}

FreeLayout free_layout(const checkpoint::Reader& reader, const SourceModules& modules, const Assignment& assignment) {
  const auto modules_of = modules_to_write(modules, assignment);
  std::vector<const io::TensorSpec*> order;
  for (const io::TensorSpec& spec : reader.tensors()) order.push_back(&spec);
  std::sort(order.begin(), order.end(),
            [&](const auto* a, const auto* b) { return reader.position_of(a->name) < reader.position_of(b->name); });
  FreeLayout layout;
  const auto add = [&](FreeItem item) {
    item.first_chunk = layout.chunks;
    layout.chunks += item.chunks();
    for (const OutputTensor& output : item.outputs) {
      layout.output_bytes += output.bytes;
      if (item.scheme != nullptr) layout.quantized_bytes += output.bytes;
    }
    layout.items.push_back(std::move(item));
  };
  for (const io::TensorSpec* spec : order) {
    layout.source_bytes += io::data_bytes(*spec);
    const auto found = modules_of.find(spec->name);
    if (found == modules_of.end()) {
      add(copied_item(*spec));
      continue;
    }
    for (const SourceModule* module : found->second) {
      const scheme::Scheme* scheme = assignment.find(module->info.name);
      add(scheme != nullptr ? module_item(*module, *scheme) : copied_module(*module));
      const FreeItem& item = layout.items.back();
      const uint64_t row_bytes = uint64_t(module->info.columns) * uint64_t(io::bits_of(module->dtype)) / 8;
      layout.largest_chunk_bytes =
          std::max(layout.largest_chunk_bytes, uint64_t(std::min(item.chunk_rows, item.rows)) * row_bytes);
    }
  }
  return layout;
}

}  // namespace swage::pipeline
