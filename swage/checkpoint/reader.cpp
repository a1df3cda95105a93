#include "swage/checkpoint/reader.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/checkpoint/read_log.h"
#include "swage/checkpoint/tied_head.h"
#include "swage/io/checkpoint_files.h"

namespace swage::checkpoint {
namespace {

// The stored types that ATen has as well; in both directions.
constexpr std::pair<io::Dtype, at::ScalarType> kTypes[] = {
    {io::Dtype::Bool, at::kBool},
    {io::Dtype::U8, at::kByte},
    {io::Dtype::I8, at::kChar},
    {io::Dtype::F8E5M2, at::kFloat8_e5m2},
    {io::Dtype::F8E4M3, at::kFloat8_e4m3fn},
    {io::Dtype::F8E4M3Fnuz, at::kFloat8_e4m3fnuz},
    {io::Dtype::F8E5M2Fnuz, at::kFloat8_e5m2fnuz},
    {io::Dtype::I16, at::kShort},
    {io::Dtype::U16, at::kUInt16},
    {io::Dtype::F16, at::kHalf},
    {io::Dtype::BF16, at::kBFloat16},
    {io::Dtype::I32, at::kInt},
    {io::Dtype::U32, at::kUInt32},
    {io::Dtype::F32, at::kFloat},
    {io::Dtype::C64, at::kComplexFloat},
    {io::Dtype::F64, at::kDouble},
    {io::Dtype::I64, at::kLong},
    {io::Dtype::U64, at::kUInt64},
};

constexpr const char* kConfigName = "config.json";

std::optional<Json> read_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kConfigName;
  if (!is_there(path)) return std::nullopt;
  Json config = read_json_file(path);
  SWAGE_CHECK(config.is_object(), CorruptData, path.string(), ": expected a JSON object");
  return config;
}

bool aligned(const void* data, at::ScalarType type) {
  return reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) == 0;
}

}  // namespace

struct Reader::State {
  State(std::unique_ptr<io::TensorStore> from, std::optional<Json> given, ReadLog* read_log)
      : store(std::move(from)),
        config(std::move(given)),
        log(read_log),
        warnings(store->warnings()) {}

  void settle_head() {
    const TiedHead head = find_tied_head(*config, *store);
    if (!head.same.empty()) store->hide(head.same);
    if (head.differs) untie(*config);
    if (!head.warning.empty()) warnings.push_back(head.warning);
  }

  // Spec and bytes of a tensor that must be there.
  std::pair<const io::TensorSpec*, std::string_view> get(const std::string& name) const {
    const std::string_view bytes = store->bytes(name);
    return {store->find(name), bytes};
  }

  const std::unique_ptr<io::TensorStore> store;
  std::optional<Json> config;
  ReadLog* log;
  std::vector<std::string> warnings;
};

Reader::Reader(const std::filesystem::path& folder, ReadLog* log)
    : state_(std::make_unique<State>(std::make_unique<io::CheckpointFiles>(folder), read_config(folder), log)) {
  if (state_->config) state_->settle_head();
}
Reader::Reader(std::unique_ptr<io::TensorStore> store, Json config)
    : state_(std::make_unique<State>(std::move(store), std::move(config), nullptr)) {}
Reader::~Reader() = default;
Reader::Reader(Reader&&) noexcept = default;

const std::filesystem::path& Reader::folder() const { return state_->store->folder(); }

const std::vector<std::string>& Reader::warnings() const { return state_->warnings; }

const Json& Reader::config() const {
  SWAGE_CHECK(state_->config.has_value(), Io, (folder() / kConfigName).string(), ": no such file");
  return *state_->config;
}

const std::vector<io::TensorSpec>& Reader::tensors() const { return state_->store->tensors(); }
const io::TensorSpec* Reader::find(const std::string& name) const { return state_->store->find(name); }
std::vector<std::filesystem::path> Reader::files() const { return state_->store->files(); }

std::string_view Reader::bytes(const std::string& name) const {
  note(name);
  return state_->store->bytes(name);
}

void Reader::read_bytes(const std::string& name, uint64_t offset, char* to, uint64_t count) const {
  state_->store->read_at(name, offset, to, count);
  if (state_->log != nullptr) state_->log->note(name, offset, {to, count});
}

void Reader::read_runs(const std::string& name, uint64_t offset, uint64_t stride, uint64_t runs, char* to,
                       uint64_t count) const {
  for (uint64_t run = 0; run < runs; ++run)
    state_->store->read_at(name, offset + run * stride, to + run * count, count);
  if (state_->log != nullptr) state_->log->note_runs(name, offset, stride, runs, {to, runs * count});
}

void Reader::note(const std::string& name) const {
  if (state_->log == nullptr) return;
  const std::string_view bytes = state_->store->bytes(name);
  if (!state_->log->knows(name, 0, bytes.size())) state_->log->note(name, 0, bytes);
}

std::pair<size_t, uint64_t> Reader::position_of(const std::string& name) const {
  return state_->store->position_of(name);
}
void Reader::prefetch(const std::string& name) const { prefetch(name, 0, state_->store->bytes(name).size()); }
void Reader::prefetch(const std::string& name, uint64_t offset, uint64_t count) const {
  state_->store->prefetch(name, offset, count);
}
void Reader::drop(const std::string& name) const { state_->store->drop(name); }

at::Tensor Reader::read(const std::string& name) const {
  const auto [spec, bytes] = state_->get(name);
  at::Tensor tensor = at::empty(readable_shape(*spec), scalar_type_of(spec->dtype));
  if (!bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
  if (state_->log != nullptr)
    state_->log->note(name, 0, {static_cast<const char*>(tensor.const_data_ptr()), bytes.size()});
  return tensor;
}

at::Tensor Reader::view(const std::string& name) const {
  const auto [spec, bytes] = state_->get(name);
  const at::ScalarType type = scalar_type_of(spec->dtype);
  if (bytes.empty() || !aligned(bytes.data(), type)) return read(name);
  return at::from_blob(const_cast<char*>(bytes.data()), readable_shape(*spec), at::TensorOptions(type));
}

at::ScalarType scalar_type_of(io::Dtype dtype) {
  for (const auto& [stored, type] : kTypes) {
    if (stored == dtype) return type;
  }
  return at::kByte;  // F8E8M0, F4 and the F6 types
}

io::Dtype dtype_of(at::ScalarType type) {
  if (type == at::kFloat8_e8m0fnu) return io::Dtype::F8E8M0;
  for (const auto& [stored, known] : kTypes) {
    if (known == type) return stored;
  }
  throw Error(ErrorKind::Unsupported, cat("safetensors has no element type for ", c10::toString(type)));
}

std::vector<int64_t> readable_shape(const io::TensorSpec& spec) {
  const int bits = io::bits_of(spec.dtype);
  std::vector<int64_t> shape = spec.shape;
  if (bits % 8 == 0) return shape;
  SWAGE_CHECK(!shape.empty() && shape.back() * bits % 8 == 0, Unsupported, "tensor \"", spec.name, "\": rows of ",
              io::name_of(spec.dtype), " ", io::shape_text(shape), " do not fill whole bytes");
  shape.back() = shape.back() * bits / 8;
  return shape;
}

}  // namespace swage::checkpoint
