// What a recipe can say to each modifier: one struct each, whose `visit` the recipe reader, the writer of recipe.yaml
// and the command line go through, and at the end the list of all. Names and defaults are LLM Compressor's where it has
// the field.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "swage/base/json.h"

namespace swage::modifiers {

// Names of a modifier.
struct ModifierName {
  std::string_view recipe;  // "GPTQModifier"
  std::string_view method;  // "gptq"
  bool has_options = true;  // whether its fields are options of the command line; else recipes alone say them
};

// A field that is a number on the command line, and in a recipe also a list or an object.
template <class Number>
struct NumberOrJson : Json {
  NumberOrJson() = default;
  NumberOrJson(Json value) : Json(std::move(value)) {}
  using Json::operator=;
};

// Classes that do what the configs ask for, in headers of their own.
class Awq;
class ConstantPruning;
class Gptq;
class MagnitudePruning;
class Quip;
class Reap;
class RoundToNearest;
class SmoothQuant;
class SparseGpt;
class SpinQuant;
class Wanda;

// Which modules are quantized and how: shared by every modifier that quantizes.
struct QuantizationFields {
  std::vector<std::string> targets = {"Linear"};
  std::vector<std::string> ignore;
  std::optional<std::string> scheme;
  Json config_groups;  // object: group -> {targets, weights, input_activations, format}
  std::optional<int64_t> group_size;
  std::optional<bool> symmetric;
  Json kv_cache_scheme;  // object: arguments of keys and values
  std::optional<std::string> weight_observer, input_observer, output_observer;
  Json observer;  // object: the same three by the names weights, input, output
  bool bypass_divisibility_checks = false;
  std::optional<double> target_bits;
  std::optional<std::string> target_size;
  std::optional<std::vector<std::string>> candidates;

  // Whether schemes are chosen for each module, so that all together keep to a size.
  bool has_budget() const { return target_bits || target_size; }

  template <class V>
  void visit(V& v) {
    v("targets", targets, "modules to quantize: a class (Linear), an exact name, or re: and a regular expression");
    v("ignore", ignore, "modules to leave as they are, written like targets");
    v("scheme", scheme,
      "preset: W4A16, W4A16_ASYM, W8A8, FP8_DYNAMIC, FP8, FP8_BLOCK, NVFP4, MXFP4 and others of compressed-tensors; "
      "instead of config_groups");
    v("config_groups", config_groups, "schemes spelled out, as in quantization_config; instead of scheme");
    v("group_size", group_size, "columns that share a scale, in place of the scheme's; -1: one scale a row");
    v("symmetric", symmetric, "whether zero points are left out, in place of the scheme's choice");
    v("kv_cache_scheme", kv_cache_scheme, "quantization of keys and values, as in quantization_config");
    v("weight_observer", weight_observer,
      "which range of the weights counts, in place of the scheme's choice: minmax, mse, imatrix_mse, percentile and "
      "others");
    v("input_observer", input_observer, "the same for static ranges of inputs");
    v("output_observer", output_observer, "the same for static ranges of outputs");
    v("observer", observer, "these three in one: {weights: mse, input: minmax}");
    v("bypass_divisibility_checks", bypass_divisibility_checks,
      "accepted for LLM Compressor's recipes; no format holds groups that do not divide the columns");
    v("target_bits", target_bits,
      "mixed precision: bits a weight, scales included, that all quantized modules may take together; each gets one of "
      "candidates; instead of scheme");
    v("target_size", target_size, "the same, as the size of all weight files of the output: 5.2GB, 900MiB");
    v("candidates", candidates,
      "presets that a budget chooses among, weight-only ones [W3A16, W4A16, W5A16, W6A16, W8A16]");
  }
};

// How scales are found: shared by every modifier that searches them.
struct ScaleFields {
  std::optional<std::string> scale_search;  // imatrix of gptq, absmax of rtn
  NumberOrJson<double> norm;                // or an object: numbers by bits

  template <class V>
  void visit(V& v) {
    v("scale_search", scale_search,
      "absmax: the range of the values; pnorm: the range with the least rounding error; imatrix: the same, columns "
      "weighed by their inputs; unset: the scheme's observer, else imatrix (gptq), absmax (rtn)");
    v("norm", norm,
      "exponent p of the search's error sum |w - q|^p; unset: 2.4; with imatrix and more than 3 bits 2; in a recipe "
      "also by bits: {3: 2.4, 8: 2}");
  }
};

// Round to nearest (QuantizationModifier).
struct QuantizationConfig : ScaleFields {
  using Modifier = RoundToNearest;
  static constexpr ModifierName kName{"QuantizationModifier", "rtn"};

  QuantizationFields quantization;

  template <class V>
  void visit(V& v) {
    quantization.visit(v);
    ScaleFields::visit(v);
  }
};

// GPTQ (GPTQModifier).
struct GptqConfig : ScaleFields {
  using Modifier = Gptq;
  static constexpr ModifierName kName{"GPTQModifier", "gptq"};

  QuantizationFields quantization;
  double dampening_frac = 0.01;
  std::optional<std::string> actorder;  // static
  std::string quality = "balanced";
  NumberOrJson<int64_t> sweeps;  // or an object: numbers by bits
  bool refit_scales = true;
  std::optional<std::string> target;
  std::optional<int64_t> block_size;

  template <class V>
  void visit(V& v) {
    quantization.visit(v);
    v("dampening_frac", dampening_frac, "share of the mean of the Hessian's diagonal added to it");
    v("actorder", actorder,
      "order of the columns: static (by activation, groups stay), none, group (needs g_idx); unset: the scheme's, else "
      "static");
    ScaleFields::visit(v);
    v("quality", quality,
      "fast: plain GPTQ; balanced: refined codes and scales; best: also a target that takes up the error of earlier "
      "layers, in two and a half to six times the time");
    v("sweeps", sweeps,
      "passes of coordinate descent over the solved codes, in place of the quality's (0; 2 or, up to 3 bits, 3; 4); in "
      "a recipe also by bits: {3: 3, 8: 2}");
    v("refit_scales", refit_scales, "whether each sweep also refits the scales to the codes");
    v("target", target,
      "weights: what they were; inputs: the float outputs on the quantized inputs; residual: those plus the residual "
      "stream's error; in place of the quality's");
    v("block_size", block_size,
      "accepted for LLM Compressor's recipes; it changes speed only, and swage chooses its own");
  }
};

// SmoothQuant (SmoothQuantModifier).
struct SmoothQuantConfig {
  using Modifier = SmoothQuant;
  static constexpr ModifierName kName{"SmoothQuantModifier", "smoothquant"};

  double smoothing_strength = 0.5;
  Json mappings;  // array
  std::vector<std::string> ignore;
  std::string algorithm = "smoothquant";

  template <class V>
  void visit(V& v) {
    v("smoothing_strength", smoothing_strength,
      "how much of the activations' magnitude moves into the weights, 0 to 1");
    v("mappings", mappings,
      "pairs [balance_layers, smooth_layer] in place of the architecture's norms and the linears on them");
    v("ignore", ignore, "smooth layers to leave as they are");
    v("algorithm", algorithm, "smoothquant, or log_equalization: scales from the activations alone");
  }
};

// Its older name for one algorithm of SmoothQuant.
struct LogEqualizationConfig : SmoothQuantConfig {
  static constexpr ModifierName kName{"LogarithmicEqualizationModifier", "logequalization", false};
};

// AWQ (AWQModifier).
struct AwqConfig {
  using Modifier = Awq;
  static constexpr ModifierName kName{"AWQModifier", "awq"};

  Json mappings;  // array
  std::vector<std::string> ignore;
  Json duo_scaling = true;  // true, false or "both"
  int64_t n_grid = 20;
  std::string objective = "gram";

  template <class V>
  void visit(V& v) {
    v("mappings", mappings,
      "objects {smooth_layer, balance_layers} in place of all pairs that the architecture allows");
    v("ignore", ignore, "smooth layers to leave as they are");
    v("duo_scaling", duo_scaling,
      "true: scales from activations and weights; false: from activations; both: the better one");
    v("n_grid", n_grid, "scales that are tried for each pair");
    v("objective", objective,
      "what judges them: gram: the error of the linears' own outputs; parent: that of the attention's or MLP's output, "
      "by running it, which takes much longer");
  }
};

// Rotations (SpinQuantModifier).
struct SpinQuantConfig {
  using Modifier = SpinQuant;
  static constexpr ModifierName kName{"SpinQuantModifier", "spinquant", false};

  std::vector<std::string> rotations = {"R1", "R2"};
  std::string transform_type = "hadamard";
  bool randomize = false;
  bool learnable = false;
  std::string precision = "float32";
  std::optional<int64_t> transform_block_size;
  std::optional<int64_t> seed;
  Json mappings, norm_mappings, transform_config;

  template <class V>
  void visit(V& v) {
    v("rotations", rotations,
      "folded into the weights: R1, the residual stream; R2, the values of each head; computed by the reader: R3, "
      "queries and keys; R4, the input of down_proj");
    v("transform_type", transform_type,
      "hadamard; random-hadamard: with random signs; random-matrix: any orthogonal matrix, for sizes that have no "
      "Hadamard matrix");
    v("randomize", randomize, "whether every layer gets an R2 of its own; of the random types");
    v("learnable", learnable, "trained rotations: not supported");
    v("precision", precision,
      "float32 or float64: of R3 and R4 in the file and in the reader; here matrices are made in float64 and applied "
      "in float32");
    v("transform_block_size", transform_block_size,
      "columns that are rotated together by R1, R2 and R4; unset: all of them, and a head");
    v("seed", seed, "of the random types; unset: the run's seed");
    v("mappings", mappings, "not supported: the architecture is known");
    v("norm_mappings", norm_mappings, "not supported: the architecture is known");
    v("transform_config", transform_config, "not supported: rotations says what it would say");
  }
};

// Rotations of what linears read and make, computed by the reader (QuIPModifier).
struct QuipConfig {
  using Modifier = Quip;
  static constexpr ModifierName kName{"QuIPModifier", "quip", false};

  std::vector<std::string> rotations = {"v"};
  std::string transform_type = "random-hadamard";
  std::vector<std::string> targets = {"Linear"};
  std::vector<std::string> ignore = {"lm_head"};
  bool randomize = false;
  bool learnable = false;
  std::string precision = "float32";
  std::optional<int64_t> transform_block_size;
  std::optional<int64_t> seed;
  Json transform_config;

  template <class V>
  void visit(V& v) {
    v("rotations", rotations, "v: what a linear reads; u: what it makes");
    v("transform_type", transform_type,
      "hadamard: powers of two only; random-hadamard: with random signs; random-matrix: any orthogonal matrix");
    v("targets", targets, "linears that are rotated: a class (Linear), an exact name, or re: and a regular expression");
    v("ignore", ignore, "linears that are not, written like targets");
    v("randomize", randomize, "matrices of its own for every linear: not supported");
    v("learnable", learnable, "trained rotations: not supported");
    v("precision", precision,
      "float32 or float64: of the matrices in the file and in the reader; here they are applied in float32");
    v("transform_block_size", transform_block_size, "columns that are rotated together; unset: all of them");
    v("seed", seed, "of the random types; unset: the run's seed");
    v("transform_config", transform_config, "not supported: the other fields say what it would say");
  }
};

// Which weights become zero: shared by every modifier that prunes by a share or a pattern.
struct SparsityFields {
  std::vector<std::string> targets = {"Linear"};
  std::vector<std::string> ignore;
  NumberOrJson<double> sparsity;  // or a list with one for each pruned module
  std::optional<std::string> sparsity_profile;
  int64_t owl_m = 0;
  double owl_lmbda = 0;
  std::string mask_structure = "0:0";

  template <class V>
  void visit(V& v) {
    v("targets", targets, "modules to prune: a class (Linear), an exact name, or re: and a regular expression");
    v("ignore", ignore, "modules to leave as they are, written like targets");
    v("sparsity", sparsity,
      "share of the weights that become zero, from 0 to 1; in a recipe also a list with one for each module");
    v("sparsity_profile", sparsity_profile, "owl: shares by the outliers of each layer, around sparsity");
    v("owl_m", owl_m, "owl: how many times the mean of its layer an outlier exceeds; 0: no owl");
    v("owl_lmbda", owl_lmbda, "owl: how far a layer's share may lie from sparsity; 0: no owl");
    v("mask_structure", mask_structure, "N:M for N zeros in every M columns of a row (2:4); 0:0: no structure");
  }
};

// SparseGPT (SparseGPTModifier).
struct SparseGptConfig {
  using Modifier = SparseGpt;
  static constexpr ModifierName kName{"SparseGPTModifier", "sparsegpt"};

  SparsityFields sparsity;
  int64_t block_size = 128;
  double dampening_frac = 0.01;
  bool preserve_sparsity_mask = false;
  int64_t sweeps = 4;
  bool swap_supports = true;

  template <class V>
  void visit(V& v) {
    sparsity.visit(v);
    v("block_size", block_size, "columns whose mask is chosen together, where there is no structure");
    v("dampening_frac", dampening_frac, "share of the mean of the Hessian's diagonal added to it");
    v("preserve_sparsity_mask", preserve_sparsity_mask, "whether zeros of the source stay zeros and count");
    v("sweeps", sweeps, "passes of coordinate descent over the weights that stay; 0: plain SparseGPT");
    v("swap_supports", swap_supports, "whether these passes also try the other masks of each group of N:M, M up to 8");
  }
};

// Wanda (WandaPruningModifier).
struct WandaConfig {
  using Modifier = Wanda;
  static constexpr ModifierName kName{"WandaPruningModifier", "wanda"};

  SparsityFields sparsity;
  int64_t sweeps = 0;
  bool swap_supports = false;

  template <class V>
  void visit(V& v) {
    sparsity.visit(v);
    v("sweeps", sweeps,
      "passes of coordinate descent over the weights that stay; 0: plain Wanda, they stay as they are");
    v("swap_supports", swap_supports, "whether these passes also try the other masks of each group of N:M, M up to 8");
  }
};

// Magnitude (MagnitudePruningModifier).
struct MagnitudePruningConfig {
  using Modifier = MagnitudePruning;
  static constexpr ModifierName kName{"MagnitudePruningModifier", "magnitude"};

  std::vector<std::string> targets = {"Linear"};
  std::vector<std::string> ignore;
  NumberOrJson<double> sparsity;  // or a list
  std::optional<double> init_sparsity, final_sparsity;
  std::string update_scheduler = "cubic";
  std::string mask_structure = "unstructured";
  bool leave_enabled = false;
  bool apply_globally = false;

  template <class V>
  void visit(V& v) {
    v("targets", targets, "modules to prune: a class (Linear), an exact name, or re: and a regular expression");
    v("ignore", ignore, "modules to leave as they are, written like targets");
    v("sparsity", sparsity, "share of the weights that become zero, from 0 to 1");
    v("init_sparsity", init_sparsity, "the same, as LLM Compressor calls it in one shot");
    v("final_sparsity", final_sparsity, "accepted for LLM Compressor's recipes: what a training run would reach");
    v("update_scheduler", update_scheduler, "accepted for LLM Compressor's recipes: it matters in training only");
    v("mask_structure", mask_structure, "N:M for N zeros in every M columns of a row (2:4); unstructured");
    v("leave_enabled", leave_enabled, "accepted for LLM Compressor's recipes: it matters in training only");
    v("apply_globally", apply_globally, "one threshold for all layers: not supported");
  }
};

// REAP (REAPPruningModifier).
struct ReapConfig {
  using Modifier = Reap;
  static constexpr ModifierName kName{"REAPPruningModifier", "reap"};

  std::optional<double> sparsity;
  std::vector<std::string> ignore;
  std::optional<std::string> report_path;

  template <class V>
  void visit(V& v) {
    v("sparsity", sparsity,
      "share of the experts of each layer that go, between 0 and 1, rounded down to whole experts");
    v("ignore", ignore,
      "regular expressions: layers whose experts all stay, which config.json can say of all layers with experts only");
    v("report_path", report_path,
      "a JSON file for the scores of all experts and which of them stayed; swage_report.json has them too");
  }
};

// ConstantPruning (ConstantPruningModifier).
struct ConstantPruningConfig {
  using Modifier = ConstantPruning;
  static constexpr ModifierName kName{"ConstantPruningModifier", "constant", false};

  std::vector<std::string> targets = {"Linear"};
  std::vector<std::string> ignore;

  template <class V>
  void visit(V& v) {
    v("targets", targets, "modules whose zeros stay zeros");
    v("ignore", ignore, "modules that are free to change, written like targets");
  }
};

// All modifiers. The command line explains options by the first that has them.
using ModifierConfigs =
    std::tuple<GptqConfig, QuantizationConfig, SparseGptConfig, WandaConfig, MagnitudePruningConfig, ReapConfig,
               AwqConfig, SmoothQuantConfig, LogEqualizationConfig, SpinQuantConfig, QuipConfig, ConstantPruningConfig>;

// Calls visit(config) with one of each, as it is by default.
template <class Visit>
void for_each_config(Visit visit) {
  std::apply([&](auto&&... configs) { (visit(configs), ...); }, ModifierConfigs());
}

}  // namespace swage::modifiers
