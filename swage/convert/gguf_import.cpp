#include "swage/convert/gguf_import.h"

#include <ATen/ops/equal.h>

#include <map>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/base/version.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/writer.h"
#include "swage/convert/convert_progress.h"
#include "swage/convert/gguf_family.h"
#include "swage/convert/gguf_tokenizer.h"
#include "swage/format/gguf_blocks.h"
#include "swage/resolve/output.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;

struct FloatType {
  const char *option, *config;
  io::Dtype dtype;
};
constexpr FloatType kFloatTypes[] = {
    {"bf16", "bfloat16", io::Dtype::BF16}, {"f16", "float16", io::Dtype::F16}, {"f32", "float32", io::Dtype::F32}};

const FloatType& float_type(const std::string& option) {
  for (const FloatType& type : kFloatTypes) {
    if (option == type.option) return type;
  }
  throw Error(ErrorKind::InvalidArgument, cat("--dtype \"", option, "\": expected bf16, f16 or f32"));
}

// Of heads of `width` rows: neighbours 2 j and 2 j + 1 become rows j and width / 2 + j.
at::Tensor in_halves(const at::Tensor& rows, int64_t width) {
  SWAGE_CHECK(rows.size(0) % width == 0 && width % 2 == 0, CorruptData, rows.size(0), " rows are no heads of ", width);
  std::vector<int64_t> shape = rows.sizes().vec();
  shape[0] = rows.size(0) / width;
  shape.insert(shape.begin() + 1, {width / 2, 2});
  return rows.reshape(shape).transpose(1, 2).reshape(rows.sizes()).contiguous();
}

class Import {
 public:
  Import(const ConvertJob& job, const Context& context)
      : job_(job),
        context_(context),
        file_(job.source),
        keys_(file_),
        family_(gguf_family(keys_, file_)),
        type_(float_type(job.dtype.empty() ? own_type() : job.dtype)),
        imports_(gguf_imports(family_, keys_, file_)) {}

  Json run() {
    const std::map<std::string, std::string> tokenizer = gguf_tokenizer(keys_);
    const Json config = gguf_config(family_, keys_, file_, type_.config);
    std::vector<io::TensorSpec> specs;
    for (const GgufImport& one : imports_) specs.push_back({one.name, stored_type(one), one.shape});
    for (const std::string& warning : warnings()) context_.log(Severity::Warning, warning);
    checkpoint::Writer writer(job_.target, specs, {.shard_bytes = job_.max_shard_size, .overwrite = job_.overwrite});
    writer.add_file("config.json", config.dump(2) + "\n");
    for (const auto& [name, contents] : tokenizer) writer.add_file(name, contents);
    ConvertProgress progress(context_, imports_.size());
    for (size_t i = 0; i < imports_.size(); ++i) {
      context_.check_cancelled();
      const at::Tensor values = values_of(imports_[i]).to(checkpoint::scalar_type_of(specs[i].dtype));
      writer.put(imports_[i].name, values);
      fingerprints_.push_back(fingerprint(values));
      file_.drop(*imports_[i].from);
      progress.tell("converting", i, imports_[i].name);
    }
    writer.close_shards();
    check(writer.temporary(), progress);
    writer.finish();
    return report(specs, progress.seconds());
  }

 private:
  // The type of all matrices but those that every file has in f32 (routers, positions), if they have one of plain
  // numbers.
  std::string own_type() const {
    std::string found;
    for (const io::GgufTensor& tensor : file_.tensors()) {
      const std::string name = tensor.type->name;
      if (tensor.shape.size() < 2 || name == "F32") continue;
      const std::string option = name == "BF16" ? "bf16" : name == "F16" ? "f16" : "f32";
      if (!found.empty() && found != option) return "f32";
      found = option;
    }
    return found.empty() ? "f32" : found;
  }

  bool is_quantized() const {
    return std::any_of(file_.tensors().begin(), file_.tensors().end(),
                       [](const io::GgufTensor& tensor) { return !format::is_plain_gguf(*tensor.type); });
  }

  at::Tensor values_of(const GgufImport& one) const {
    try {
      const io::GgufTensor& from = *one.from;
      std::string_view bytes = file_.bytes(from);
      std::vector<int64_t> shape = from.shape;
      if (one.expert >= 0) {
        const size_t share = bytes.size() / size_t(shape[0]);
        bytes = bytes.substr(size_t(one.expert) * share, share);
        shape.erase(shape.begin());
      }
      return changed(format::decode_gguf(*from.type, bytes, shape), one.change);
    } catch (Error& e) {
      e.add_context(cat(file_.path().string(), ": tensor ", io::quoted(one.from->name)));
      throw;
    }
  }

  at::Tensor changed(at::Tensor values, GgufChange change) const {
    switch (change) {
      case GgufChange::None:
        return values;
      case GgufChange::QueryRows:
        return in_halves(values, values.size(0) / std::max<int64_t>(1, keys_.whole("attention.head_count")));
      case GgufChange::KeyRows:
        return in_halves(
            values,
            values.size(0) /
                std::max<int64_t>(
                    1, keys_.whole_if("attention.head_count_kv").value_or(keys_.whole("attention.head_count"))));
      case GgufChange::MinusOne:
        return values.sub_(1);
      case GgufChange::Transposed:
        return values.dim() == 2 ? values.t().contiguous() : values;
    }
    return values;
  }

  // Matrices have the one type; what the file keeps in f32 beside them has it where that changes nothing.
  io::Dtype stored_type(const GgufImport& one) const {
    const bool is_kept_wide = std::string_view(one.from->type->name) == "F32" && type_.dtype != io::Dtype::F32;
    if (!is_kept_wide) return type_.dtype;
    const at::Tensor values = values_of(one);
    const bool is_exact = at::equal(values.to(checkpoint::scalar_type_of(type_.dtype)).to(at::kFloat), values);
    return is_exact ? type_.dtype : io::Dtype::F32;
  }

  std::vector<std::string> warnings() const {
    std::vector<std::string> out;
    if (is_quantized() && job_.dtype.empty())
      out.push_back(
          "the file is quantized: its values are written as f32, which holds them; --dtype bf16 takes half "
          "as much and rounds them");
    return out;
  }

  void check(const fs::path& folder, const ConvertProgress& progress) const {
    const checkpoint::Reader reader(folder);
    for (size_t i = 0; i < imports_.size(); ++i) {
      context_.check_cancelled();
      SWAGE_CHECK(fingerprint(reader.read(imports_[i].name)) == fingerprints_[i], Internal,
                  "self-check: ", imports_[i].name, " reads back other than it was written");
      reader.drop(imports_[i].name);
      progress.tell("checking", i, imports_[i].name);
    }
  }

  Json report(const std::vector<io::TensorSpec>& specs, double seconds) const {
    uint64_t bytes = 0;
    for (const io::TensorSpec& spec : specs) bytes += io::data_bytes(spec);
    std::map<std::string, int64_t> types;
    for (const io::GgufTensor& tensor : file_.tensors()) ++types[tensor.type->name];
    std::string from;
    for (const auto& [name, count] : types) from += (from.empty() ? "" : ", ") + name;
    Json warnings = Json::array();
    for (const std::string& warning : this->warnings()) warnings.push_back(warning);
    Json out = Json::object();
    out.set("swage", kVersion);
    out.set("source", file_.path().string());
    out.set("from", cat("gguf (", from, ")"));
    out.set("to", "dense");
    out.set("modules", int64_t(imports_.size()));
    out.set("copied_tensors", int64_t{0});
    out.set("source_bytes", file_.file_bytes());
    out.set("output_bytes", bytes);
    out.set("warnings", std::move(warnings));
    out.set("seconds", seconds);
    out.set("peak_rss_bytes", peak_rss_bytes());
    return out;
  }

  const ConvertJob& job_;
  const Context& context_;
  const io::GgufFile file_;
  const GgufKeys keys_;
  const GgufFamily& family_;
  const FloatType& type_;
  const std::vector<GgufImport> imports_;
  std::vector<uint64_t> fingerprints_;  // beside imports_
};

}  // namespace

bool is_gguf(const fs::path& source) {
  std::error_code ignored;
  return source.extension() == ".gguf" && fs::is_regular_file(source, ignored);
}

Json import_gguf(const ConvertJob& job, const Context& context) {
  SWAGE_CHECK(job.to == "dense", InvalidArgument, "--to ", job.to, ": GGUF is read as --to dense");
  checkpoint::OutputFolder::check_target(job.target, job.overwrite);
  return Import(job, context).run();
}

}  // namespace swage::pipeline
