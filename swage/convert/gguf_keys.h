// The keys of a GGUF model as config fields: checked by type, named in errors.
#pragma once
#include <optional>
#include <string>

#include "swage/io/gguf.h"

namespace swage::pipeline {

class GgufKeys {
 public:
  // Error(CorruptData) without general.architecture; Error(Unsupported) for files that hold no model (adapters,
  // imatrix, projectors).
  explicit GgufKeys(const io::GgufFile& file);

  const std::string& architecture() const { return architecture_; }
  // Of the key ARCH.name: a number; of an array with one value a layer that value, if all are the same, else
  // Error(Unsupported). Error(CorruptData) naming the key if it is missing or of another type.
  int64_t whole(const std::string& name) const;
  std::optional<int64_t> whole_if(const std::string& name) const;
  std::optional<std::string> text_if(const std::string& name) const;
  // f32 as the shortest decimal that means it: 1e-05, not 9.999999747378752e-06.
  double real(const std::string& name) const;
  std::optional<double> real_if(const std::string& name) const;
  // Of any key.
  const Json* find(const std::string& key) const { return file_.keys().find(key); }
  [[noreturn]] void refuse(const std::string& name, const std::string& why) const;

 private:
  const io::GgufFile& file_;
  std::string architecture_;
};

double shortest_of(float value);

}  // namespace swage::pipeline
