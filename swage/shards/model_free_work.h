// The work of a model-free run: chunks are read, quantized, packed and written on all threads; afterwards the files are
// read back.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "swage/base/context.h"
#include "swage/checkpoint/writer.h"
#include "swage/io/file_descriptor.h"
#include "swage/job/steps.h"
#include "swage/report/report.h"
#include "swage/resolve/assignment.h"
#include "swage/shards/model_free_layout.h"
#include "swage/shards/model_free_scales.h"

namespace swage::pipeline {

// Rounding errors are measured on one row in this many.
inline constexpr int64_t kErrorRows = 16;

class FreeWork {
 public:
  // All must outlive this.
  FreeWork(const checkpoint::Reader& reader, const FreeLayout& layout, const Assignment& assignment,
           const Context& context, const StageClock& clock);

  // Writes every tensor that `steps` does not have as finished, and notes in it what is, every few seconds.
  // Error(Numerical) naming a weight that holds NaN or infinity, Error(Cancelled).
  void write(checkpoint::Writer& writer, Steps& steps);
  // Reads the shards in `folder` back: headers, and every byte, compared by digest with what write() was given.
  // Error(Internal) naming the first tensor that differs. May run while the shards are synced.
  void check(const std::filesystem::path& folder);
  // Of item `index`: sums over the measured rows of |w - q|^2 and |w|^2.
  std::pair<double, double> error_of(size_t index) const;

 private:
  struct Scratch;
  struct ChunkError {
    double difference = 0, whole = 0;
  };
  struct StoredPlace {
    size_t shard = 0;
    uint64_t offset = 0;
    bool found = false;
  };
  // Opens the shards in `folder` and fills in the place of each output. Error(Internal) for one that is missing or
  // differs.
  void find_outputs(const std::filesystem::path& folder, std::vector<io::FileDescriptor>& shards,
                    std::vector<StoredPlace>& places) const;
  void for_each_chunk(const char* stage, const std::function<void(const FreeItem&, int64_t, Scratch&)>& work);
  void write_quantized(const FreeItem& item, int64_t chunk, Scratch& scratch, checkpoint::Writer& writer);
  void write_copied(const FreeItem& item, int64_t chunk, Scratch& scratch, checkpoint::Writer& writer);
  static void measure_error(const at::Tensor& w_OI, const format::QuantizedWeight& weight, ChunkError& error);
  void put(const FreeItem& item, size_t output, int64_t chunk, std::string_view bytes, checkpoint::Writer& writer);
  void restore(checkpoint::Writer& writer, const Steps& steps);
  void finish_chunk(const FreeItem& item, Steps& steps);
  Json account_of(const std::vector<size_t>& items) const;
  void prefetch(int64_t chunk) const;
  static uint64_t bytes_of_chunk(const FreeItem& item);
  void release_after(uint64_t bytes);
  void tell(const char* stage, int64_t done);
  size_t index_of(const FreeItem& item) const { return size_t(&item - layout_.items.data()); }

  const checkpoint::Reader& reader_;
  const FreeLayout& layout_;
  const Assignment& assignment_;
  const Context& context_;
  const StageClock& clock_;
  std::vector<size_t> first_digest_;  // of each item's outputs
  std::vector<std::atomic<uint64_t>> written_,
      found_;  // digests by output: sums over pieces, so that their order does not count
  SharedScales scales_;
  std::vector<ChunkError> errors_;                // by chunk
  std::vector<std::atomic<int64_t>> left_;        // chunks to be done, by item
  std::map<size_t, ChunkError> restored_errors_;  // of items that an earlier run finished
  std::mutex finishing_, journaling_;
  std::vector<size_t> finished_items_;  // not in the journal yet; guarded by finishing_
  double began_seconds_ = 0,
         noted_seconds_ = 0;  // of write(), and when the journal was written last; guarded by journaling_
  std::atomic<uint64_t> worked_bytes_ = 0;
  std::mutex telling_;
  std::atomic<double> stage_began_ = 0;
  double told_seconds_ = 0;
};

}  // namespace swage::pipeline
