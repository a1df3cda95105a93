#include "swage/checkpoint/writer.h"

#include <ATen/ops/empty.h>
#include <fcntl.h>

#include <mutex>
#include <utility>
#include <vector>

#include "swage/base/error.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/shard_layout.h"
#include "swage/checkpoint/writeback.h"
#include "swage/io/mmap_file.h"
#include "swage/io/shard_index.h"

namespace swage::checkpoint {
namespace {

// Pieces and tensors of at least this size are handed to the disk at once.
constexpr uint64_t kWritebackBytes = 64 << 10;

// Whether this tensor, as it is in memory, holds what the plan says: the type itself or what read() gives for it.
bool holds(const at::Tensor& tensor, const io::TensorSpec& spec) {
  const at::ScalarType type = tensor.scalar_type();
  const bool same_type =
      type == scalar_type_of(spec.dtype) || (type == at::kFloat8_e8m0fnu && spec.dtype == io::Dtype::F8E8M0);
  return same_type && tensor.sizes() == at::IntArrayRef(readable_shape(spec));
}

std::string text_of(const at::Tensor& tensor) {
  return cat(c10::toString(tensor.scalar_type()), " ", io::shape_text(tensor.sizes().vec()));
}

void write_new_file(const std::filesystem::path& path, std::string_view contents) {
  io::FileDescriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  file.write_at(contents, 0);
  file.sync();
  file.close();
}

}  // namespace

struct Writer::State {
  State(OutputFolder opened, const std::vector<io::TensorSpec>& tensors, const WriterOptions& options)
      : layout(plan_shards(tensors, options.shard_bytes)),
        folder(std::move(opened)),
        trace(options.trace),
        writeback(options.trace),
        written(layout.tensors.size()),
        dirty(layout.shards.size(), true) {
    if (options.resume) {
      open_shards();
    } else {
      make_shards();
    }
  }

  void make_shards() {
    folder.clear();
    folder.check_space(layout.file_bytes());
    for (const PlannedShard& shard : layout.shards) {
      files.emplace_back(folder.temporary() / shard.name, O_RDWR | O_CREAT | O_EXCL);
      try {
        files.back().reserve(shard.bytes);
      } catch (Error& e) {
        e.add_context(cat(folder.target().string(), ": ", layout.file_bytes(), " bytes needed"));
        throw;
      }
      files.back().write_at(shard.header, 0);
    }
  }

  void open_shards() {
    for (const PlannedShard& shard : layout.shards) {
      const std::filesystem::path path = folder.temporary() / shard.name;
      files.emplace_back(path, O_RDWR);
      std::error_code error;
      std::string header(shard.header.size(), 0);
      const bool whole = std::filesystem::file_size(path, error) == shard.bytes;
      if (whole) files.back().read_at(header.data(), header.size(), 0);
      SWAGE_CHECK(whole && header == shard.header, CorruptData, path.string(),
                  ": is not as the unfinished run left it; --restart starts anew");
    }
  }

  const PlannedTensor& planned(const std::string& name) const {
    const auto at = layout.tensors.find(name);
    SWAGE_CHECK(at != layout.tensors.end(), Internal, "writing tensor \"", name, "\", which was not planned");
    return at->second;
  }

  void write(const std::string& name, const PlannedTensor& tensor, uint64_t offset, std::string_view bytes) {
    {
      const std::lock_guard<std::mutex> guard(mutex);
      Progress& progress = written[tensor.number];
      SWAGE_CHECK(!closed, Internal, "writing tensor \"", name, "\" after the shards were closed");
      SWAGE_CHECK(!progress.begun ||
                      (progress.begun_bytes < tensor.bytes && bytes.size() <= tensor.bytes - progress.begun_bytes),
                  Internal, "writing tensor \"", name, "\" a second time");
      progress.begun = true;
      progress.begun_bytes += bytes.size();
    }
    {
      const TraceSpan span(trace, "write", Trace::Kind::Disk, -1, name);
      files[tensor.shard].write_at(bytes, tensor.offset + offset);
    }
    const std::lock_guard<std::mutex> guard(mutex);
    Progress& progress = written[tensor.number];
    progress.done_bytes += bytes.size();
    const bool complete = progress.done_bytes == tensor.bytes;
    dirty[tensor.shard] = true;
    if (complete) completed.push_back(name);
    // Small pieces wait until their tensor is complete, small tensors for sync(): a page sent to the disk half filled
    // is sent twice.
    if (complete && progress.sent_bytes == 0 && tensor.bytes >= kWritebackBytes) {
      writeback.start(files[tensor.shard], tensor.offset, tensor.bytes);
    } else if (bytes.size() >= kWritebackBytes) {
      writeback.start(files[tensor.shard], tensor.offset + offset, bytes.size());
      progress.sent_bytes += bytes.size();
    }
  }

  // Path of a small file; it must not step outside the folder or onto a shard.
  std::filesystem::path path_of(const std::string& name) const {
    const bool plain = !name.empty() && name != "." && name != ".." && std::filesystem::path(name).filename() == name;
    SWAGE_CHECK(plain, Internal, "adding file \"", name, "\": expected a plain file name");
    bool weights = name == io::kIndexFileName;
    for (const PlannedShard& shard : layout.shards) weights |= name == shard.name;
    SWAGE_CHECK(!weights, Internal, "adding file \"", name, "\": the Writer makes this file itself");
    return folder.temporary() / name;
  }

  ShardLayout layout;
  OutputFolder folder;
  Trace* trace;
  std::vector<io::FileDescriptor> files;  // one per shard
  Writeback writeback;                    // after `files`: it ends before they close
  std::mutex mutex;                       // guards what follows
  struct Progress {
    bool begun = false;
    uint64_t begun_bytes = 0, done_bytes = 0, sent_bytes = 0;
  };
  std::vector<Progress> written;       // by the tensors' numbers
  std::vector<bool> dirty;             // shards with bytes that no sync has covered
  std::vector<std::string> completed;  // tensors, since the last sync
  bool closed = false;
};

namespace {

OutputFolder opened(const std::filesystem::path& target, bool overwrite) {
  OutputFolder folder(target, overwrite);
  SWAGE_CHECK(!folder.holds_unfinished_run(), InvalidArgument, target.string(),
              ": an unfinished run with this output is kept in ", folder.work().string(),
              "; finish it, or remove that folder");
  return folder;
}

}  // namespace

Writer::Writer(const std::filesystem::path& target, const std::vector<io::TensorSpec>& tensors,
               const WriterOptions& options)
    : Writer(opened(target, options.overwrite), tensors, options) {}
Writer::Writer(OutputFolder folder, const std::vector<io::TensorSpec>& tensors, const WriterOptions& options)
    : state_(std::make_unique<State>(std::move(folder), tensors, options)) {}
Writer::~Writer() = default;

void Writer::put(const std::string& name, const at::Tensor& tensor) {
  const PlannedTensor& planned = state_->planned(name);
  SWAGE_CHECK(tensor.defined(), Internal, "writing tensor \"", name, "\": it is undefined");
  SWAGE_CHECK(holds(tensor, planned.spec), Internal, "writing tensor \"", name, "\": planned as ",
              io::name_of(planned.spec.dtype), " ", io::shape_text(planned.spec.shape), ", got ", text_of(tensor));
  const at::Tensor flat = tensor.cpu().contiguous();  // neither copies what already is
  state_->write(name, planned, 0, {static_cast<const char*>(flat.const_data_ptr()), planned.bytes});
}

void Writer::put_bytes(const std::string& name, std::string_view bytes) {
  const PlannedTensor& planned = state_->planned(name);
  SWAGE_CHECK(bytes.size() == planned.bytes, Internal, "writing tensor \"", name, "\": planned with ", planned.bytes,
              " bytes, got ", bytes.size());
  state_->write(name, planned, 0, bytes);
}

void Writer::put_part(const std::string& name, uint64_t offset, std::string_view bytes) {
  const PlannedTensor& planned = state_->planned(name);
  SWAGE_CHECK(offset <= planned.bytes && bytes.size() <= planned.bytes - offset, Internal, "writing tensor \"", name,
              "\": planned with ", planned.bytes, " bytes, got ", bytes.size(), " at ", offset);
  state_->write(name, planned, offset, bytes);
}

std::vector<std::string> Writer::sync_written() {
  std::vector<std::string> names;
  std::vector<size_t> shards;
  {
    const std::lock_guard<std::mutex> guard(state_->mutex);
    names.swap(state_->completed);
    for (size_t i = 0; i < state_->dirty.size(); ++i) {
      if (state_->dirty[i]) shards.push_back(i);
      state_->dirty[i] = false;
    }
  }
  for (const size_t shard : shards) {
    const TraceSpan span(state_->trace, "sync shard", Trace::Kind::Disk);
    state_->files[shard].sync();
  }
  return names;
}

void Writer::restore(const std::string& name) {
  const PlannedTensor& planned = state_->planned(name);
  const std::lock_guard<std::mutex> guard(state_->mutex);
  State::Progress& progress = state_->written[planned.number];
  SWAGE_CHECK(!progress.begun, Internal, "restoring tensor \"", name, "\", which was written already");
  progress = {true, planned.bytes, planned.bytes, planned.bytes};
}

at::Tensor Writer::read_back(const std::string& name) const {
  const PlannedTensor& planned = state_->planned(name);
  at::Tensor tensor = at::empty(readable_shape(planned.spec), scalar_type_of(planned.spec.dtype));
  state_->files[planned.shard].read_at(static_cast<char*>(tensor.mutable_data_ptr()), planned.bytes, planned.offset);
  return tensor;
}

bool Writer::plans(const std::string& name) const { return state_->layout.tensors.contains(name); }

void Writer::keep(bool kept) { state_->folder.keep(kept); }

void Writer::add_file(const std::string& name, std::string_view contents) {
  write_new_file(state_->path_of(name), contents);
}

void Writer::copy_file(const std::filesystem::path& source, const std::string& name) {
  const std::filesystem::path path = state_->path_of(name);
  write_new_file(path, io::MmapFile(source).bytes());
}

const std::filesystem::path& Writer::temporary() const { return state_->folder.temporary(); }

const std::filesystem::path& Writer::work() const { return state_->folder.work(); }

void Writer::close_shards() {
  {
    const std::lock_guard<std::mutex> guard(state_->mutex);
    if (state_->closed) return;
    for (const auto& [name, planned] : state_->layout.tensors) {
      const auto& progress = state_->written[planned.number];
      SWAGE_CHECK(progress.begun && progress.done_bytes == planned.bytes, Internal, "closing the checkpoint: tensor \"",
                  name, "\" was not written");
    }
    state_->closed = true;
  }
  state_->writeback.stop();
  for (io::FileDescriptor& file : state_->files) {
    file.sync();
    file.close();
  }
  if (state_->files.size() > 1) write_new_file(temporary() / io::kIndexFileName, state_->layout.index_text());
}

void Writer::finish() {
  close_shards();
  state_->folder.commit();
}

}  // namespace swage::checkpoint
