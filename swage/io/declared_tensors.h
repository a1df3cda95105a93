// Tensors that a config makes: names, types and shapes, and no data.
#pragma once
#include "swage/base/error.h"
#include "swage/io/tensor_store.h"

namespace swage::io {

class DeclaredTensors : public TensorStore {
 public:
  DeclaredTensors(std::filesystem::path folder, std::vector<TensorSpec> tensors) : TensorStore(std::move(folder)) {
    settle(std::move(tensors));
  }

  std::vector<std::filesystem::path> files() const override { return {}; }
  std::string_view bytes(std::string_view name) const override { none(name); }
  void read_at(std::string_view name, uint64_t, char*, uint64_t) const override { none(name); }
  std::pair<size_t, uint64_t> position_of(std::string_view name) const override { none(name); }
  void prefetch(std::string_view name, uint64_t, uint64_t) const override { none(name); }
  void drop(std::string_view name) const override { none(name); }

 private:
  [[noreturn]] void none(std::string_view name) const {
    spec_of(name);
    throw Error(ErrorKind::Internal,
                cat(folder().string(), ": data of ", quoted(name), " was asked for, and there is a config only"));
  }
};

}  // namespace swage::io
