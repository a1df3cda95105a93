#include "swage/convert/convert_plan.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>

#include "swage/base/error.h"
#include "swage/format/awq.h"
#include "swage/format/gptq.h"
#include "swage/format/stored_tensors.h"
#include "swage/resolve/quantized_source.h"

namespace swage::pipeline {
namespace {

using scheme::QuantizationArgs;
using scheme::Strategy;

constexpr std::array kTargets = {"pack-quantized", "gptq", "gptq_v2", "awq", "dense"};
// Tensors of a quantized module that are not its weight's.
constexpr std::array kActivations = {"input_scale",       "input_zero_point", "input_global_scale", "output_scale",
                                     "output_zero_point", "k_scale",          "k_zero_point",       "v_scale",
                                     "v_zero_point",      "q_scale",          "q_zero_point"};

bool is_gptq(const std::string& to) { return to == "gptq" || to == "gptq_v2"; }

bool holds_floats(io::Dtype dtype) {
  return dtype == io::Dtype::F16 || dtype == io::Dtype::BF16 || dtype == io::Dtype::F32 || dtype == io::Dtype::F64;
}

std::pair<std::string, std::string> split(const std::string& tensor) {
  const size_t dot = tensor.rfind('.');
  if (dot == std::string::npos) return {"", tensor};
  return {tensor.substr(0, dot), tensor.substr(dot + 1)};
}

bool is_activation(const std::string& suffix) {
  return std::find(kActivations.begin(), kActivations.end(), suffix) != kActivations.end();
}

bool is_embedding(const std::string& module) {
  return module.find("embed") != std::string::npos || module.ends_with("wte") || module.ends_with("wpe");
}

std::optional<io::Dtype> dtype_of_option(const std::string& name) {
  if (name == "bf16") return io::Dtype::BF16;
  if (name == "f16") return io::Dtype::F16;
  if (name == "f32") return io::Dtype::F32;
  return std::nullopt;
}

// Scales of the source, and the types that the output's are stored in.
class Scales {
 public:
  Scales(const ConvertJob& job, const checkpoint::Reader& reader) : job_(job), reader_(reader) {}

  // Error for scales that the target's kernels do not take, or that its type of scales does not hold.
  void check(const std::string& name) const {
    const io::TensorSpec& spec = scale_of(name);
    const at::Tensor scale = reader_.view(spec.name).to(at::kDouble).contiguous();
    const double* value = scale.const_data_ptr<double>();
    for (int64_t i = 0; i < scale.numel(); ++i) {
      SWAGE_CHECK(std::isfinite(value[i]), Numerical, spec.name, " holds NaN or infinity");
      SWAGE_CHECK(value[i] >= 0, InvalidArgument, spec.name, " holds ", value[i],
                  ": a negative scale, which kernels for ", job_.to, " do not take; --to dense can hold it");
    }
    if (job_.to == "pack-quantized" || job_.allow_rounding) return;
    const auto lost = inexact(reader_.view(spec.name), io::Dtype::F16);
    SWAGE_CHECK(!lost, InvalidArgument, spec.name, " holds ", *lost, ", which f16, the type of scales in ", job_.to,
                ", does not hold exactly; --allow-rounding rounds it, --to pack-quantized keeps it");
  }

  void choose_dtypes(std::vector<ConvertedModule>& modules) const {
    const std::optional<io::Dtype> model = model_dtype();
    if (job_.to == "dense") {
      const std::optional<io::Dtype> asked = dtype_of_option(job_.dtype);
      for (ConvertedModule& module : modules) module.dtype = asked ? *asked : model.value_or(scale_of_any(module.name));
      return;
    }
    if (job_.to != "pack-quantized") return;  // f16
    // The model's type where that holds all scales, else the source's.
    const bool exact = model && std::all_of(modules.begin(), modules.end(), [&](const ConvertedModule& module) {
                         return !inexact(reader_.view(scale_of(module.name).name), *model);
                       });
    for (ConvertedModule& module : modules) module.dtype = exact ? *model : scale_of(module.name).dtype;
  }

 private:
  const io::TensorSpec& scale_of(const std::string& module) const {
    const io::TensorSpec* spec = reader_.find(module + ".weight_scale");
    if (spec == nullptr) spec = reader_.find(module + ".scales");
    SWAGE_CHECK(spec != nullptr && holds_floats(spec->dtype), CorruptData, module,
                ": weight_scale or scales of floats is missing");
    return *spec;
  }

  // The first value of `scale` that `dtype` does not hold exactly.
  static std::optional<double> inexact(const at::Tensor& scale, io::Dtype dtype) {
    const at::Tensor exact = scale.to(at::kDouble).contiguous();
    const at::Tensor rounded = scale.to(checkpoint::scalar_type_of(dtype)).to(at::kDouble).contiguous();
    const double *a = exact.const_data_ptr<double>(), *b = rounded.const_data_ptr<double>();
    for (int64_t i = 0; i < exact.numel(); ++i) {
      if (a[i] != b[i]) return a[i];
    }
    return std::nullopt;
  }

  // That of the other weights: what the model computes in.
  std::optional<io::Dtype> model_dtype() const {
    std::map<io::Dtype, int64_t> count;
    for (const io::TensorSpec& spec : reader_.tensors()) {
      if (holds_floats(spec.dtype) && spec.name.ends_with(".weight")) ++count[spec.dtype];
    }
    const auto most =
        std::max_element(count.begin(), count.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == count.end() ? std::nullopt : std::optional(most->first);
  }

  // For a model without any other weight: as its scales, if these are floats.
  io::Dtype scale_of_any(const std::string& name) const {
    for (const char* suffix : {".weight_scale", ".scales"}) {
      const io::TensorSpec* spec = reader_.find(name + suffix);
      if (spec != nullptr && holds_floats(spec->dtype)) return spec->dtype;
    }
    return io::Dtype::F32;
  }

  const ConvertJob& job_;
  const checkpoint::Reader& reader_;
};

// One module in the target: its format and the arguments that say the same there. Error where nothing does.
class ModulePlanner {
 public:
  ModulePlanner(const ConvertJob& job, const checkpoint::Reader& reader, const format::CheckpointWeights& weights,
                const Scales& scales)
      : job_(job),
        reader_(reader),
        weights_(weights),
        scales_(scales) {}

  ConvertedModule plan(const std::string& name) const {
    ConvertedModule module;
    module.name = name;
    const std::vector<int64_t> shape = weights_.shape(name + ".weight");
    module.rows = shape.at(0);
    module.columns = shape.at(1);
    if (job_.to == "dense") return module;
    const scheme::Scheme& scheme = *weights_.quantized_scheme(name);
    const QuantizationArgs& from = *scheme.weights;
    SWAGE_CHECK(from.type == scheme::NumberType::Int && from.num_bits <= 8, InvalidArgument, "holds ",
                scheme::name_of(from.type), " codes of ", from.num_bits, " bits, but ", job_.to,
                " holds integers of at most 8; --to dense can hold them");
    const bool activations = scheme.input_activations || scheme.output_activations;
    SWAGE_CHECK(!activations || job_.to == "pack-quantized", InvalidArgument, "quantizes activations, which ", job_.to,
                " cannot say; --to pack-quantized or dense can hold it");
    module.args = target_args(module, from);
    if (job_.to == "pack-quantized") {
      module.format = &format::format_named("pack-quantized");
    } else if (job_.to == "awq") {
      check_awq(module);
      module.format = &format::awq_format();
    } else {
      check_gptq(module);
      module.format = &format::gptq_format(job_.to);
    }
    scales_.check(name);
    return module;
  }

 private:
  QuantizationArgs target_args(const ConvertedModule& module, const QuantizationArgs& from) const {
    QuantizationArgs args = from;
    if (job_.to != "pack-quantized" && args.strategy == Strategy::Tensor) args.strategy = Strategy::Channel;
    SWAGE_CHECK(
        args.strategy == Strategy::Channel || args.strategy == Strategy::Group || args.strategy == Strategy::Tensor,
        InvalidArgument, "has one scale for each ", scheme::name_of(args.strategy), ", which ", job_.to,
        " cannot say; --to dense can hold it");
    if (args.strategy == Strategy::Group && module.columns % *args.group_size != 0) take_short_group(module, args);
    const bool sorted = args.strategy == Strategy::Group && has_sorted_groups(module, *args.group_size);
    const bool says_order = job_.to == "pack-quantized" && !scheme::orders_groups(args);  // of columns in their groups
    if (sorted)
      args.actorder = "group";
    else if (!says_order)
      args.actorder.reset();
    return args;
  }

  // A group longer than the row is one scale a row; a last one that is short only the gptq formats can say.
  void take_short_group(const ConvertedModule& module, QuantizationArgs& args) const {
    const bool one_group = module.columns < *args.group_size;
    SWAGE_CHECK(one_group || is_gptq(job_.to), InvalidArgument, "has ", module.columns, " inputs in groups of ",
                *args.group_size, ", the last one short, which ", job_.to,
                " cannot say; --to gptq_v2 or dense can hold it");
    if (!one_group) return;
    args.strategy = Strategy::Channel;
    args.group_size.reset();
  }

  // Whether the module stores a group for each column that is not column / group size.
  bool has_sorted_groups(const ConvertedModule& module, int64_t group_size) const {
    for (const char* suffix : {".g_idx", ".weight_g_idx"}) {
      const io::TensorSpec* spec = reader_.find(module.name + suffix);
      if (spec == nullptr || (spec->dtype != io::Dtype::I32 && spec->dtype != io::Dtype::I64)) continue;
      const at::Tensor g_idx = reader_.view(spec->name).to(at::kLong).contiguous();
      const int64_t* group = g_idx.const_data_ptr<int64_t>();
      bool sorted = false;
      for (int64_t i = 0; i < g_idx.numel(); ++i) {
        if (group[i] == -1) return false;  // never set
        sorted = sorted || group[i] != i / group_size;
      }
      return sorted;
    }
    return false;
  }

  void check_awq(const ConvertedModule& module) const {
    SWAGE_CHECK(module.args.num_bits == 4, InvalidArgument, "has ", module.args.num_bits,
                " bits, but awq holds 4 only; --to pack-quantized or gptq_v2 can hold it");
    SWAGE_CHECK(
        !scheme::orders_groups(module.args), InvalidArgument,
        "has groups of sorted columns (g_idx), which awq cannot say; --to gptq, gptq_v2 or dense can hold them");
    SWAGE_CHECK(module.rows % 8 == 0, InvalidArgument, "has ", module.rows,
                " outputs, but awq needs a multiple of 8; --to pack-quantized can hold it");
  }

  void check_gptq(const ConvertedModule& module) const {
    const int bits = module.args.num_bits;
    SWAGE_CHECK(bits == 2 || bits == 3 || bits == 4 || bits == 8, InvalidArgument, "has ", bits, " bits, but ", job_.to,
                " holds 2, 3, 4 and 8 only; --to pack-quantized can hold it");
    SWAGE_CHECK(module.rows % 32 == 0 && module.columns % 32 == 0, InvalidArgument, "has ", module.rows,
                " outputs and ", module.columns, " inputs, but ", job_.to,
                " needs multiples of 32; --to pack-quantized can hold it");
  }

  const ConvertJob& job_;
  const checkpoint::Reader& reader_;
  const format::CheckpointWeights& weights_;
  const Scales& scales_;
};

// Plan of a conversion: what becomes of each module, and all tensors of the output in their order.
class Planner {
 public:
  Planner(const ConvertJob& job, const checkpoint::Reader& reader, const format::CheckpointWeights& weights)
      : job_(job),
        reader_(reader),
        weights_(weights) {}

  ConversionPlan plan() {
    check_request();
    const Scales scales(job_, reader_);
    const ModulePlanner modules(job_, reader_, weights_, scales);
    for (const std::string& name : weights_.quantized_modules()) {
      try {
        plan_.modules.push_back(modules.plan(name));
      } catch (Error& error) {
        error.add_context(name);
        throw;
      }
    }
    warn_of_sorted_groups();
    drop_needless_zero_points();
    scales.choose_dtypes(plan_.modules);
    lay_out();
    return std::move(plan_);
  }

 private:
  void check_request() const {
    const bool known = std::find(kTargets.begin(), kTargets.end(), job_.to) != kTargets.end();
    SWAGE_CHECK(known, InvalidArgument, "--to ", job_.to, ": expected pack-quantized, gptq, gptq_v2, awq or dense");
    SWAGE_CHECK(job_.dtype.empty() || job_.to == "dense", InvalidArgument, "--dtype ", job_.dtype,
                ": only --to dense takes it; ", job_.to,
                job_.to == "pack-quantized" ? " keeps the scales' type" : " stores scales in f16");
    SWAGE_CHECK(job_.dtype.empty() || dtype_of_option(job_.dtype), InvalidArgument, "--dtype ", job_.dtype,
                ": expected bf16, f16 or f32");
    SWAGE_CHECK(!weights_.quantized_modules().empty(), InvalidArgument, job_.source.string(),
                ": holds no quantized weights, so there is nothing to convert; swage compress quantizes a model");
    check_no_transforms(weights_, job_.source, "convert");
    const auto& config = weights_.quantization_config();
    SWAGE_CHECK(!config || !config->kv_cache_scheme || job_.to == "dense" || job_.to == "pack-quantized",
                InvalidArgument, job_.source.string(), ": its quantization_config has a kv_cache_scheme, which ",
                job_.to, " cannot say; convert to pack-quantized or dense");
  }

  void warn_of_sorted_groups() {
    if (job_.to != "pack-quantized") return;
    const bool sorted = std::any_of(plan_.modules.begin(), plan_.modules.end(),
                                    [](const ConvertedModule& module) { return scheme::orders_groups(module.args); });
    if (sorted) {
      plan_.warnings.push_back(
          "groups of sorted columns (desc_act): compressed-tensors from 0.19 on and vLLM refuse such pack-quantized "
          "files");
    }
  }

  // AWQ stores zero points of symmetric weights too. Dropped where all modules are symmetric, so that fast kernels fit.
  void drop_needless_zero_points() {
    if (job_.to == "awq" || job_.to == "dense") return;
    const auto symmetric = [&](const ConvertedModule& module) {
      const scheme::Scheme& scheme = *weights_.quantized_scheme(module.name);
      const std::string zeros = module.name + ".qzeros";
      return scheme.weights->symmetric ||
             (scheme.format == "awq" && reader_.find(zeros) != nullptr &&
              reader_.find(zeros)->dtype == io::Dtype::I32 && format::awq_zeros_are_symmetric(reader_.view(zeros)));
    };
    if (!std::all_of(plan_.modules.begin(), plan_.modules.end(), symmetric)) return;
    for (ConvertedModule& module : plan_.modules) module.args.symmetric = true;
  }

  std::vector<io::TensorSpec> specs_of(const ConvertedModule& module) const {
    if (module.format == nullptr) return {{module.name + ".weight", module.dtype, {module.rows, module.columns}}};
    std::vector<io::TensorSpec> specs = module.format->specs(module.args, module.rows, module.columns, module.dtype);
    for (io::TensorSpec& spec : specs) spec.name = module.name + "." + spec.name;
    return specs;
  }

  void lay_out() {
    std::map<std::string, const ConvertedModule*> left;  // modules whose tensors are not laid out yet
    for (const ConvertedModule& module : plan_.modules) left[module.name] = &module;
    for (const io::TensorSpec& spec : reader_.tensors()) {
      const auto [module, suffix] = split(spec.name);
      const bool activation = weights_.quantization_config() && is_activation(suffix);
      plan_.source_bytes += io::data_bytes(spec);
      if (weights_.quantized_scheme(module) == nullptr || suffix == "bias" || activation) {
        if (!activation || job_.to != "dense") copy(spec, module, suffix);
      } else if (const auto found = left.find(module); found != left.end()) {
        for (io::TensorSpec& stored : specs_of(*found->second)) plan_.tensors.push_back(std::move(stored));
        left.erase(found);
      }
    }
    for (const io::TensorSpec& spec : plan_.tensors) plan_.output_bytes += io::data_bytes(spec);
  }

  void copy(const io::TensorSpec& spec, const std::string& module, const std::string& suffix) {
    plan_.tensors.push_back(spec);
    plan_.copied.push_back(spec.name);
    if (suffix == "weight" && spec.shape.size() == 2 && holds_floats(spec.dtype) && !is_embedding(module))
      plan_.unquantized.push_back(module);
  }

  const ConvertJob& job_;
  const checkpoint::Reader& reader_;
  const format::CheckpointWeights& weights_;
  ConversionPlan plan_;
};

}  // namespace

ConversionPlan plan_conversion(const ConvertJob& job, const checkpoint::Reader& reader,
                               const format::CheckpointWeights& weights) {
  return Planner(job, reader, weights).plan();
}

format::QuantizedWeight in_target(const ConvertedModule& module, format::QuantizedWeight weight) {
  const auto spread = [&](const at::Tensor& values) {  // one value for the whole matrix, where the target has one a row
    if (values.dim() == 2 || module.args.strategy == Strategy::Tensor) return values;
    return values.reshape({1, 1}).expand({module.rows, 1}).contiguous();
  };
  weight.scale_OG = spread(weight.scale_OG).to(checkpoint::scalar_type_of(module.dtype));
  if (weight.zero_point_OG.defined()) weight.zero_point_OG = spread(weight.zero_point_OG);
  const bool symmetric = module.args.symmetric && module.format != &format::awq_format();
  if (symmetric) weight.zero_point_OG = at::Tensor();
  if (!symmetric && !weight.zero_point_OG.defined())
    weight.zero_point_OG = at::zeros(weight.scale_OG.sizes(), at::kChar);
  return weight;
}

}  // namespace swage::pipeline
