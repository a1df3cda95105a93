#include "swage/shards/model_free_work.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/io/mmap_file.h"
#include "swage/io/safetensors.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/ops/tensor_bytes.h"

namespace swage::pipeline {
namespace {

constexpr int64_t kAheadChunks = 64;  // that the disk is asked for before they are needed: some 32 MiB
constexpr double kSecondsBetweenEvents = 0.2;
// Aligned blocks of a chunk leave splinters between them that the allocator does not join, so that it takes other pages
// for the next chunk; in a gigabyte they came to 150 MiB. Given back after so many bytes, they stay below a tenth of
// that.
constexpr uint64_t kBytesBetweenReleases = uint64_t{64} << 20;
// Between two entries of the journal: a quarter of the run so far, at most this.
constexpr double kSecondsBetweenEntries = 5;

// The first rows of a quantized weight: one in kErrorRows, or one row of blocks.
format::QuantizedWeight first_rows(const format::QuantizedWeight& weight) {
  format::QuantizedWeight out = weight;
  const int64_t all = weight.codes_OI.size(0), rows = weight.block_rows > 0 ? std::min(weight.block_rows, all)
                                                                            : std::max<int64_t>(1, all / kErrorRows);
  out.codes_OI = weight.codes_OI.narrow(0, 0, rows);
  if (weight.block_rows > 0) {
    out.scale_OG = weight.scale_OG.narrow(0, 0, 1);
  } else if (weight.scale_OG.size(0) == weight.codes_OI.size(0)) {
    out.scale_OG = weight.scale_OG.narrow(0, 0, rows);
    if (weight.zero_point_OG.defined()) out.zero_point_OG = weight.zero_point_OG.narrow(0, 0, rows);
  }
  return out;
}

}  // namespace

// What a thread reuses from chunk to chunk: fresh memory costs a page fault every 4 KiB.
struct FreeWork::Scratch {
  at::Tensor buffer;
  char* bytes(uint64_t count) {
    if (!buffer.defined() || uint64_t(buffer.numel()) < count) buffer = at::empty({int64_t(count)}, at::kByte);
    return static_cast<char*>(buffer.mutable_data_ptr());
  }
};

FreeWork::FreeWork(const checkpoint::Reader& reader, const FreeLayout& layout, const Assignment& assignment,
                   const Context& context, const StageClock& clock)
    : reader_(reader),
      layout_(layout),
      assignment_(assignment),
      context_(context),
      clock_(clock),
      scales_(reader, layout),
      errors_(size_t(layout.chunks)) {
  size_t outputs = 0;
  for (const FreeItem& item : layout.items) {
    first_digest_.push_back(outputs);
    outputs += item.outputs.size();
  }
  written_ = std::vector<std::atomic<uint64_t>>(outputs);
  found_ = std::vector<std::atomic<uint64_t>>(outputs);
}

void FreeWork::for_each_chunk(const char* stage, const std::function<void(const FreeItem&, int64_t, Scratch&)>& work) {
  std::atomic<bool> stop = false;  // after an error the other threads need not go on
  const auto run = [&](int64_t chunk, Scratch& scratch) {
    if (stop) return;
    try {
      context_.check_cancelled();
      const FreeItem& item = layout_.item_of(chunk);
      work(item, chunk, scratch);
      release_after(bytes_of_chunk(item));
      tell(stage, chunk + 1);
    } catch (...) {
      stop = true;
      throw;
    }
  };
  ops::parallel_tasks(layout_.chunks, [] { return Scratch(); }, run);
}

// Of the source, about: the last chunk of an item may have fewer.
uint64_t FreeWork::bytes_of_chunk(const FreeItem& item) {
  if (item.module == nullptr) return uint64_t(item.chunk_rows);
  return uint64_t(item.chunk_rows * item.module->info.columns) * uint64_t(io::bits_of(item.module->dtype)) / 8;
}

void FreeWork::release_after(uint64_t bytes) {
  const uint64_t before = worked_bytes_.fetch_add(bytes);
  if (before / kBytesBetweenReleases < (before + bytes) / kBytesBetweenReleases) release_free_memory();
}

void FreeWork::prefetch(int64_t chunk) const {
  if (chunk >= layout_.chunks) return;
  const FreeItem& item = layout_.item_of(chunk);
  const int64_t first = (chunk - item.first_chunk) * item.chunk_rows,
                rows = std::min(item.chunk_rows, item.rows - first);
  if (item.module == nullptr) return reader_.prefetch(item.tensor, uint64_t(first), uint64_t(rows));
  const SourceModule& module = *item.module;
  const uint64_t element = uint64_t(io::bits_of(module.stored)) / 8;
  if (module.transposed) return;  // read in columns, from pages that lie too far apart to ask for them
  reader_.prefetch(module.tensor, module.offset + uint64_t(first * module.stride) * element,
                   uint64_t(rows * module.stride) * element);
}

void FreeWork::tell(const char* stage, int64_t done) {
  const std::unique_lock<std::mutex> lock(telling_, std::try_to_lock);
  const double seconds = clock_.total_seconds();
  if (done == 1) stage_began_ = seconds;
  if (!lock.owns_lock() || seconds < told_seconds_ + kSecondsBetweenEvents || seconds <= stage_began_) return;
  told_seconds_ = seconds;
  ProgressEvent event;
  event.stage = cat(stage, " ", done * 100 / layout_.chunks, " %");
  event.elapsed_seconds = seconds;
  event.eta_seconds = (seconds - stage_began_) / double(done) * double(layout_.chunks - done);
  event.rss_bytes = current_rss_bytes();
  context_.progress(event);
}

void FreeWork::put(const FreeItem& item, size_t output, int64_t chunk, std::string_view bytes,
                   checkpoint::Writer& writer) {
  const Piece piece = layout_.piece(item, item.outputs[output], chunk);
  const std::string& name = item.outputs[output].spec.name;
  SWAGE_CHECK(bytes.size() == piece.bytes, Internal, name, ": a chunk of ", bytes.size(), " bytes where ", piece.bytes,
              " were planned");
  written_[first_digest_[index_of(item)] + output] += wide_checksum(bytes, piece.offset);
  writer.put_part(name, piece.offset, bytes);
}

void FreeWork::write_copied(const FreeItem& item, int64_t chunk, Scratch& scratch, checkpoint::Writer& writer) {
  const Piece piece = layout_.piece(item, item.outputs[0], chunk);
  char* buffer = scratch.bytes(piece.bytes);
  const TraceSpan span(context_.trace, "copy", Trace::Kind::Disk, -1, item.outputs[0].spec.name);
  if (item.module == nullptr) {
    reader_.read_bytes(item.tensor, piece.offset, buffer, piece.bytes);
  } else {
    const int64_t first = (chunk - item.first_chunk) * item.chunk_rows;
    read_stored_rows(reader_, *item.module, first, std::min(item.chunk_rows, item.rows - first), buffer);
  }
  put(item, 0, chunk, {buffer, piece.bytes}, writer);
}

void FreeWork::write_quantized(const FreeItem& item, int64_t chunk, Scratch& scratch, checkpoint::Writer& writer) {
  const SourceModule& module = *item.module;
  const int64_t first = (chunk - item.first_chunk) * item.chunk_rows,
                rows = std::min(item.chunk_rows, item.rows - first);
  const at::ScalarType type = checkpoint::scalar_type_of(module.dtype);
  char* buffer = scratch.bytes(uint64_t(rows * module.info.columns) * c10::elementSize(type));
  {
    const TraceSpan span(context_.trace, "read weights", Trace::Kind::Disk, module.info.block, module.info.name);
    read_rows(reader_, module, first, rows, buffer);
  }
  const TraceSpan span(context_.trace, "quantize", Trace::Kind::Compute, module.info.block, module.info.name);
  const at::Tensor w_OI = at::from_blob(buffer, {rows, module.info.columns}, at::TensorOptions(type));
  modifiers::LinearTask task{module.info.name, w_OI, type, item.scheme};
  task.global_scale = scales_.of(item);
  task.measure_error = false;
  const modifiers::SolvedLinear solved =
      std::move(assignment_.quantizer_of(module.info.name).quantize({&task, 1}, {})[0]);
  const auto packed = format::format_for(*item.scheme).pack(*item.scheme->weights, solved.weight);
  SWAGE_CHECK(packed.size() == item.outputs.size(), Internal, module.info.name, ": ", packed.size(), " tensors where ",
              item.outputs.size(), " were planned");
  for (size_t i = 0; i < packed.size(); ++i) {
    if (item.outputs[i].bytes_per_chunk == 0 && chunk != item.first_chunk) continue;
    if (packed[i].first == "weight_shape") {
      const int64_t shape[2] = {item.rows, module.info.columns};
      put(item, i, chunk, {reinterpret_cast<const char*>(shape), sizeof shape}, writer);
    } else {
      put(item, i, chunk, ops::bytes_of(packed[i].second.contiguous()), writer);
    }
  }
  // Chunks of a few long rows: of these together, one row.
  if (rows >= kErrorRows || first % kErrorRows == 0) measure_error(w_OI, solved.weight, errors_[size_t(chunk)]);
}

void FreeWork::measure_error(const at::Tensor& w_OI, const format::QuantizedWeight& weight, ChunkError& error) {
  const at::Tensor q_OI = format::dequantize(first_rows(weight)),
                   exact_OI = w_OI.narrow(0, 0, q_OI.size(0)).to(at::kFloat);
  const float *q = q_OI.const_data_ptr<float>(), *w = exact_OI.const_data_ptr<float>();
  for (int64_t i = 0; i < q_OI.numel(); ++i) {
    error.difference += double(w[i] - q[i]) * double(w[i] - q[i]);
    error.whole += double(w[i]) * double(w[i]);
  }
}

void FreeWork::write(checkpoint::Writer& writer, Steps& steps) {
  left_ = std::vector<std::atomic<int64_t>>(layout_.items.size());
  for (size_t i = 0; i < left_.size(); ++i) left_[i] = layout_.items[i].chunks();
  restore(writer, steps);
  began_seconds_ = noted_seconds_ = clock_.total_seconds();
  for (int64_t chunk = 0; chunk < kAheadChunks; ++chunk) prefetch(chunk);
  for_each_chunk("writing", [&](const FreeItem& item, int64_t chunk, Scratch& scratch) {
    if (left_[index_of(item)] == 0) return;
    prefetch(chunk + kAheadChunks);
    try {
      if (item.scheme == nullptr) {
        write_copied(item, chunk, scratch, writer);
      } else {
        write_quantized(item, chunk, scratch, writer);
      }
    } catch (Error& e) {
      if (item.scheme != nullptr) e.add_context(item.module->info.name + ".weight");
      throw;
    }
    finish_chunk(item, steps);
  });
}

void FreeWork::finish_chunk(const FreeItem& item, Steps& steps) {
  if (--left_[index_of(item)] > 0 || !steps.keeps()) return;
  {
    const std::lock_guard<std::mutex> guard(finishing_);
    finished_items_.push_back(index_of(item));
  }
  const std::unique_lock<std::mutex> lock(journaling_, std::try_to_lock);
  const double now = clock_.total_seconds();
  if (!lock.owns_lock() || now - noted_seconds_ < std::min((now - began_seconds_) / 4, kSecondsBetweenEntries)) return;
  std::vector<size_t> items;
  {
    const std::lock_guard<std::mutex> guard(finishing_);
    items.swap(finished_items_);
  }
  steps.finish_part("tensors", account_of(items));
  noted_seconds_ = clock_.total_seconds();
}

// [[item, |w - q|^2, |w|^2, digest of each output], ...]
Json FreeWork::account_of(const std::vector<size_t>& items) const {
  Json out = Json::array();
  for (const size_t index : items) {
    const auto [difference, whole] = error_of(index);
    Json row = Json::array();
    row.push_back(int64_t(index));
    row.push_back(difference);
    row.push_back(whole);
    for (size_t i = 0; i < layout_.items[index].outputs.size(); ++i)
      row.push_back(hex64(written_[first_digest_[index] + i]));
    out.push_back(std::move(row));
  }
  return out;
}

void FreeWork::restore(checkpoint::Writer& writer, const Steps& steps) {
  for (const Json& account : steps.accounts()) {
    for (const Json& entry : account.as_array()) {
      const Json::Array& row = entry.as_array();
      const size_t index = size_t(row[0].as_int());
      left_[index] = 0;
      restored_errors_[index] = {row[1].as_double(), row[2].as_double()};
      const std::vector<OutputTensor>& outputs = layout_.items[index].outputs;
      for (size_t i = 0; i < outputs.size(); ++i) {
        uint64_t digest = 0;
        const std::string& digits = row[3 + i].as_string();
        std::from_chars(digits.data(), digits.data() + digits.size(), digest, 16);
        written_[first_digest_[index] + i] = digest;
        writer.restore(outputs[i].spec.name);
      }
    }
  }
}

// Only places are kept of the headers, which are long where experts are many.
void FreeWork::find_outputs(const std::filesystem::path& folder, std::vector<io::FileDescriptor>& shards,
                            std::vector<StoredPlace>& places) const {
  std::vector<std::pair<std::string_view, size_t>> number_of;  // outputs by name, sorted
  std::vector<const io::TensorSpec*> specs;
  for (const FreeItem& item : layout_.items) {
    for (const OutputTensor& output : item.outputs) {
      number_of.emplace_back(output.spec.name, specs.size());
      specs.push_back(&output.spec);
    }
  }
  std::sort(number_of.begin(), number_of.end());
  places.resize(specs.size());
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    for (const io::StoredTensor& tensor :
         io::parse_safetensors_header(io::MmapFile(entry.path()).bytes(), entry.path().string()).tensors) {
      const auto found = std::lower_bound(number_of.begin(), number_of.end(),
                                          std::pair(std::string_view(tensor.spec.name), size_t(0)));
      const bool planned =
          found != number_of.end() && found->first == tensor.spec.name && tensor.spec == *specs[found->second];
      SWAGE_CHECK(planned, Internal, "self-check: ", tensor.spec.name, " is in the files other than it was planned");
      places[found->second] = {shards.size(), tensor.offset, true};
    }
    shards.emplace_back(entry.path(), O_RDONLY);
  }
  for (size_t i = 0; i < places.size(); ++i)
    SWAGE_CHECK(places[i].found, Internal, "self-check: ", specs[i]->name, " is not in the files");
}

void FreeWork::check(const std::filesystem::path& folder) {
  std::vector<io::FileDescriptor> shards;
  std::vector<StoredPlace> places;
  find_outputs(folder, shards, places);
  for_each_chunk("checking", [&](const FreeItem& item, int64_t chunk, Scratch& scratch) {
    for (size_t i = 0; i < item.outputs.size(); ++i) {
      const Piece piece = layout_.piece(item, item.outputs[i], chunk);
      if (piece.bytes == 0 && chunk != item.first_chunk) continue;
      const size_t number = first_digest_[index_of(item)] + i;
      char* buffer = scratch.bytes(piece.bytes);
      const TraceSpan span(context_.trace, "read back", Trace::Kind::Disk, -1, item.outputs[i].spec.name);
      shards[places[number].shard].read_at(buffer, piece.bytes, places[number].offset + piece.offset);
      found_[number] += wide_checksum({buffer, piece.bytes}, piece.offset);
    }
  });
  for (const FreeItem& item : layout_.items) {
    for (size_t i = 0; i < item.outputs.size(); ++i) {
      const size_t at = first_digest_[index_of(item)] + i;
      SWAGE_CHECK(written_[at] == found_[at], Internal, "self-check: ", item.outputs[i].spec.name,
                  " reads back other than it was written");
    }
  }
}

std::pair<double, double> FreeWork::error_of(size_t index) const {
  const auto restored = restored_errors_.find(index);
  if (restored != restored_errors_.end()) return {restored->second.difference, restored->second.whole};
  const FreeItem& item = layout_.items[index];
  ChunkError sum;
  for (int64_t chunk = item.first_chunk; chunk < item.first_chunk + item.chunks(); ++chunk) {
    sum.difference += errors_[size_t(chunk)].difference;
    sum.whole += errors_[size_t(chunk)].whole;
  }
  return {sum.difference, sum.whole};
}

}  // namespace swage::pipeline
