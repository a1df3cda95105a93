// Configs declare their fields once, in a `visit` member that names, refers to and explains each of them:
//
//   struct GptqConfig {
//     double dampening_frac = 0.01;
//     template <class V> void visit(V& v) { v("dampening_frac", dampening_frac, "share of mean(diag(H)) added to it");
//     }
//   };
//
// The recipe reader, --help, the docs and bindings are visitors. This file has the two that read and write JSON.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/error.h"
#include "swage/base/json.h"

namespace swage {

// Of `known`, the one that takes the fewest edits to reach from `name`, at most two; empty if none is so near. Never
// `name` itself.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

// What is said as text and kept as something else ("5GiB", bytes): these two stand beside the type.
template <class T>
concept SaidAsText = requires(T& value, std::string_view text) {
  read_text(text, value);  // Error for a text that makes no sense
  std::string(to_string(value));
};

// Reads the members of a JSON object into fields. A member that no field has is an Error(InvalidArgument) that names
// the nearest field, as is a value of the wrong type.
class JsonFieldReader {
 public:
  JsonFieldReader(const Json& object, std::string source) : object_(object), source_(std::move(source)) {}

  template <class T>
  void operator()(std::string_view name, T& field, std::string_view /*help*/) {
    known_.emplace_back(name);
    const Json* value = object_.find(name);
    if (value == nullptr || value->is_null()) return;
    try {
      read(*value, field);
    } catch (const Error& e) {  // not a damaged file: something was asked for that is not there
      throw Error(ErrorKind::InvalidArgument, cat(source_, ": ", name, ": ", e.what()));
    }
  }
  // Call after visiting.
  void finish() const;

 private:
  static void read(const Json& value, bool& field) { field = value.as_bool(); }
  static void read(const Json& value, int64_t& field) { field = value.as_int(); }
  static void read(const Json& value, uint64_t& field) { field = uint64_t(positive(value)); }
  static void read(const Json& value, double& field) { field = value.as_double(); }
  static void read(const Json& value, std::string& field) { field = value.as_string(); }
  static void read(const Json& value, Json& field) { field = value; }
  template <SaidAsText T>
  static void read(const Json& value, T& field) {
    read_text(value.is_string() ? value.as_string() : value.dump(), field);
  }
  static void read(const Json& value, std::vector<std::string>& field);
  template <class T>
  static void read(const Json& value, std::optional<T>& field) {
    read(value, field.emplace());
  }

  static int64_t positive(const Json& value);

  const Json& object_;
  std::string source_;
  std::vector<std::string> known_;
};

// Writes every field into a JSON object, in order; unset optionals and null JSON are left out.
class JsonFieldWriter {
 public:
  template <class T>
  void operator()(std::string_view name, T& field, std::string_view /*help*/) {
    write(name, field);
  }
  Json take() { return std::move(object_); }

 private:
  template <SaidAsText T>
  void write(std::string_view name, const T& field) {
    object_.set(name, to_string(field));
  }
  template <class T>
  void write(std::string_view name, const T& field) {
    const Json value(field);
    if (!value.is_null()) object_.set(name, value);
  }
  void write(std::string_view name, const std::vector<std::string>& field);
  template <class T>
  void write(std::string_view name, const std::optional<T>& field) {
    if (field) write(name, *field);
  }

  Json object_ = Json::object();
};

template <class Config>
void read_fields(const Json& object, const std::string& source, Config& config) {
  JsonFieldReader reader(object, source);
  config.visit(reader);
  reader.finish();
}

template <class Config>
Json write_fields(Config config) {
  JsonFieldWriter writer;
  config.visit(writer);
  return writer.take();
}

}  // namespace swage
