#include "swage/convert/convert.h"

#include <optional>
#include <set>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/base/version.h"
#include "swage/checkpoint/writer.h"
#include "swage/convert/convert_config.h"
#include "swage/convert/convert_plan.h"
#include "swage/convert/convert_progress.h"
#include "swage/format/gptq.h"
#include "swage/report/report.h"
#include "swage/resolve/output.h"
#include "swage/resolve/source.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;

// The Writer looks at the target again when it has the lock; that it holds the source only we know.
void check_folders(const ConvertJob& job) {
  std::error_code error;
  SWAGE_CHECK(!job.target.empty(), InvalidArgument, "the output folder's name is empty");
  const fs::path source = fs::weakly_canonical(job.source, error),
                 target = fs::weakly_canonical(fs::absolute(job.target), error);
  const fs::path inside = source.lexically_relative(target);
  SWAGE_CHECK(inside.empty() || *inside.begin() == "..", InvalidArgument, job.target.string(),
              ": the output folder holds the source model, which is never overwritten; give another folder");
  checkpoint::OutputFolder::check_target(job.target, job.overwrite);
}

class Conversion {
 public:
  Conversion(const ConvertJob& job, const Context& context)
      : job_(job),
        context_(context),
        source_(job.source),
        reader_(source_.reader()),
        weights_(reader_),
        plan_(plan_conversion(job, reader_, weights_)),
        progress_(context, plan_.modules.size()) {}

  Json run() {
    for (const std::string& warning : warnings()) context_.log(Severity::Warning, warning);
    checkpoint::Writer writer(job_.target, plan_.tensors,
                              {.shard_bytes = job_.max_shard_size, .overwrite = job_.overwrite});
    write_converted_files(job_, source_, weights_, plan_, writer);
    for (const std::string& name : plan_.copied) {
      context_.check_cancelled();
      writer.put_bytes(name, reader_.bytes(name));
      reader_.drop(name);
    }
    for (size_t i = 0; i < plan_.modules.size(); ++i) {
      context_.check_cancelled();
      fingerprints_.push_back(convert(plan_.modules[i], writer));
      progress_.tell("converting", i, plan_.modules[i].name);
    }
    writer.close_shards();
    check(writer.temporary());
    source_.check_unchanged();
    writer.finish();
    return report();
  }

 private:
  // Writes one module; returns the fingerprint of what must be read back.
  uint64_t convert(const ConvertedModule& module, checkpoint::Writer& writer) const {
    try {
      if (module.format == nullptr) return convert_to_dense(module, writer);
      const format::QuantizedWeight weight = in_target(module, weights_.quantized(module.name).weight);
      SWAGE_CHECK(job_.to != "gptq" || format::fits_gptq_v1(weight.zero_point_OG, module.args.num_bits),
                  InvalidArgument,
                  "has a zero point of 0, which gptq (version 1) stores in a way that most readers get wrong; --to "
                  "gptq_v2 can hold it");
      for (const auto& [suffix, tensor] : module.format->pack(module.args, weight))
        writer.put(module.name + "." + suffix, tensor);
      drop_pages(reader_, module.name);
      return fingerprint(weight);
    } catch (Error& error) {
      error.add_context(module.name);
      throw;
    }
  }

  uint64_t convert_to_dense(const ConvertedModule& module, checkpoint::Writer& writer) const {
    format::QuantizedWeight dense;
    const std::string name = module.name + ".weight";
    dense.codes_OI =
        weights_.load(name).to(checkpoint::scalar_type_of(module.dtype));  // load() refuses NaN and infinity
    SWAGE_CHECK(module.dtype != io::Dtype::F16 || dense.codes_OI.to(at::kFloat).abs().max().item<float>() <= 65504,
                Numerical, "has values beyond the range of f16; --dtype f32 or bf16 can hold them");
    writer.put(name, dense.codes_OI);
    return fingerprint(dense);
  }

  static void drop_pages(const checkpoint::Reader& reader, const std::string& module) {
    for (const char* suffix :
         {"weight", "weight_packed", "weight_scale", "weight_zero_point", "qweight", "qzeros", "scales"}) {
      const std::string name = module + "." + suffix;
      if (reader.find(name) != nullptr) reader.drop(name);
    }
  }

  // Reopens what was written, as a user will, and compares every module with what the source holds.
  void check(const fs::path& folder) const {
    const checkpoint::Reader reader(folder);
    const format::CheckpointWeights written(reader);
    SWAGE_CHECK(job_.to == "dense" || written.quantized_modules().size() == plan_.modules.size(), Internal,
                "self-check: ", written.quantized_modules().size(), " quantized modules read back, but ",
                plan_.modules.size(), " were written");
    for (size_t i = 0; i < plan_.modules.size(); ++i) {
      const std::string& name = plan_.modules[i].name;
      context_.check_cancelled();
      format::QuantizedWeight found;
      if (job_.to == "dense") {
        found.codes_OI = reader.read(name + ".weight");
      } else {
        found = written.quantized(name).weight;
      }
      SWAGE_CHECK(fingerprint(found) == fingerprints_[i], Internal, "self-check: ", name,
                  " reads back other than the source has it");
      drop_pages(reader, name);
      progress_.tell("checking", i, name);
    }
    for (const std::string& name : plan_.copied) {
      SWAGE_CHECK(reader.bytes(name) == reader_.bytes(name), Internal, "self-check: ", name,
                  " was not copied as it is");
      reader.drop(name);
      reader_.drop(name);
    }
  }

  std::vector<std::string> warnings() const {
    std::vector<std::string> out = source_.warnings();
    out.insert(out.end(), plan_.warnings.begin(), plan_.warnings.end());
    return out;
  }

  Json report() const {
    std::set<std::string> formats;
    for (const ConvertedModule& module : plan_.modules)
      formats.insert(scheme::format_of(*weights_.quantized_scheme(module.name)));
    std::string from;
    for (const std::string& format : formats) from += (from.empty() ? "" : ", ") + format;
    Json out = Json::object();
    out.set("swage", kVersion);
    out.set("source", source_.name());
    out.set("from", from);
    out.set("to", job_.to);
    out.set("modules", int64_t(plan_.modules.size()));
    out.set("copied_tensors", int64_t(plan_.copied.size()));
    out.set("source_bytes", plan_.source_bytes);
    out.set("output_bytes", plan_.output_bytes);
    Json warnings = Json::array();
    for (const std::string& warning : this->warnings()) warnings.push_back(warning);
    out.set("warnings", std::move(warnings));
    out.set("seconds", progress_.seconds());
    out.set("peak_rss_bytes", peak_rss_bytes());
    return out;
  }

  const ConvertJob& job_;
  const Context& context_;
  const Source source_;
  const checkpoint::Reader& reader_;
  const format::CheckpointWeights weights_;
  const ConversionPlan plan_;
  const ConvertProgress progress_;
  std::vector<uint64_t> fingerprints_;  // beside plan_.modules
};

}  // namespace

Json run_convert(const ConvertJob& job, const Context& context) {
  check_folders(job);
  return Conversion(job, context).run();
}

}  // namespace swage::pipeline
