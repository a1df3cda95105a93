#include "swage/resolve/assignment.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/model/activation_quantization.h"
#include "swage/resolve/activation_scales.h"
#include "swage/resolve/bit_candidates.h"
#include "swage/resolve/reader_names.h"
#include "swage/resolve/recipe_observers.h"
#include "swage/resolve/target_names.h"
#include "swage/scheme/config_json.h"
#include "swage/scheme/describe.h"
#include "swage/scheme/matching.h"
#include "swage/scheme/presets.h"

namespace swage::pipeline {
namespace {

using modifiers::QuantizationFields;
using scheme::Scheme;
using Groups = std::vector<std::pair<std::string, Scheme>>;

// An order that the scheme spells out counts before a modifier's default; two that were asked for must agree.
void fill_actorder(const modifiers::Quantizer& modifier, const std::string& group, scheme::QuantizationArgs& weights) {
  if (weights.strategy != scheme::Strategy::Group) return;
  const std::string wanted = modifier.actorder();
  if (!weights.actorder) {
    if (!wanted.empty()) weights.actorder = wanted;
    return;
  }
  const std::string spelled = scheme::orders_groups(weights) ? "group" : "static";
  SWAGE_CHECK(!modifier.insists_on_actorder() || spelled == wanted, InvalidArgument, modifier.name(), ": actorder ",
              wanted.empty() ? "none" : wanted, ", but ", group, " has ", *weights.actorder, "; leave one of them out");
}

// A group for queries, keys and values: no weights, and the class of the attention for its one target.
bool is_attention(const Scheme& scheme) {
  return !scheme.weights && scheme.input_activations && scheme.targets.size() == 1 &&
         !scheme.targets[0].starts_with("re:") && scheme.targets[0].ends_with("Attention");
}

// What a recipe spells out in the words of quantization_config. A mistake in it is one of the request, not of a file.
scheme::QuantizationConfig spelled_config(Json groups, const Json* cache = nullptr) {
  Json config = Json::object();
  config.set("quant_method", "compressed-tensors");
  config.set("config_groups", std::move(groups));
  if (cache != nullptr) config.set("kv_cache_scheme", *cache);
  try {
    return scheme::parse_quantization_config(config);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::CorruptData) throw;
    throw Error(ErrorKind::InvalidArgument, error.what());
  }
}

Groups resolve_groups(const modifiers::Quantizer& modifier) {
  const QuantizationFields& fields = modifier.quantization();
  const bool spelled_out = !fields.config_groups.is_null();
  const bool cache_only = !fields.scheme && !spelled_out && !fields.kv_cache_scheme.is_null();
  if (cache_only) return {};
  check_budget_fields(fields, modifier.name());
  SWAGE_CHECK(fields.has_budget() || fields.scheme.has_value() != spelled_out, InvalidArgument, modifier.name(),
              ": give ", spelled_out ? "either a scheme or config_groups, not both" : "a scheme or config_groups");
  Groups groups;
  if (fields.has_budget()) {
    groups = bit_candidates(fields, modifier.name());
  } else if (spelled_out) {
    groups = spelled_config(fields.config_groups).groups;
  } else {
    groups.emplace_back("group_0", scheme::preset(*fields.scheme));
    groups[0].second.targets = fields.targets;
  }
  for (auto& [name, scheme] : groups) {
    if (fields.group_size && !fields.has_budget()) scheme = scheme::with_group_size(scheme, *fields.group_size);
    if (fields.symmetric && !fields.has_budget()) scheme = scheme::with_symmetric(scheme, *fields.symmetric);
    SWAGE_CHECK(scheme.weights || !scheme.input_activations || is_attention(scheme), Unsupported, name,
                ": a scheme of activations alone is for attention, with one target such as LlamaAttention; keys and "
                "values: kv_cache_scheme");
    SWAGE_CHECK(!scheme.output_activations, Unsupported, name,
                ": output_activations: no engine runs quantized outputs of linears; leave them out");
    if (scheme.weights) fill_actorder(modifier, name, *scheme.weights);
    choose_observers(fields, modifier.name(), scheme);
    scheme.format = scheme::format_of(scheme);
    const bool zeros = scheme.weights && !scheme.weights->symmetric &&
                       scheme.format != "pack-quantized";  // packed ones have the codes' bits
    SWAGE_CHECK(!zeros || scheme.weights->zp_dtype.value_or("torch.int8") == "torch.int8", Unsupported, name,
                ": zp_dtype ", *scheme.weights->zp_dtype, ": ", scheme.format, " stores zero points as torch.int8");
  }
  return groups;
}

void check_head_args(const scheme::QuantizationArgs& args, const std::string& who) {
  model::check_activation_quantization(args, who);
  SWAGE_CHECK(args.symmetric && args.dynamic == scheme::Dynamic::No, Unsupported, who,
              ": only static symmetric scales can be stored");
}

// Takes over a group that quantizes queries, keys and values.
// `others_match`: the recipe means something else besides.
void add_attention(const std::string& name, const Scheme& scheme, bool others_match, Assignment& out) {
  const std::string& target = scheme.targets[0];
  if (!out.attention_class.empty() && target != out.attention_class) {
    const std::string mismatch = cat(
        name, ": target ", target, " matches no module of this model, whose attention is called ", out.attention_class);
    SWAGE_CHECK(others_match, InvalidArgument, mismatch);
    out.warnings.push_back(mismatch);
    return;
  }
  check_head_args(*scheme.input_activations, name);
  SWAGE_CHECK(!out.attention, InvalidArgument, name, ": the recipe has two groups for attention");
  SWAGE_CHECK(!out.kv_cache || *out.kv_cache == *scheme.input_activations, InvalidArgument, name,
              ": quantizes keys and values too, but kv_cache_scheme has them otherwise; leave kv_cache_scheme out");
  out.attention = scheme;
  out.kv_cache = scheme.input_activations;
}

// The arguments of keys and values, read as quantization_config has them.
scheme::QuantizationArgs cache_args(const Json& fields) {
  const scheme::QuantizationArgs args = *spelled_config(Json::object(), &fields).kv_cache_scheme;
  check_head_args(args, "kv_cache_scheme");
  return args;
}

std::string join(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : ", ") + item;
  return out;
}

// Of a recipe's list, what matches nothing, and how modules are called.
std::string unmatched_text(std::vector<std::string> unmatched, const std::vector<scheme::ModuleName>& names) {
  constexpr size_t kShown = 10;
  const size_t count = unmatched.size();
  if (count > kShown) unmatched.resize(kShown);
  return cat(join(unmatched), count > kShown ? cat(" and ", count - kShown, " more") : "",
             " (modules are called, for example, ",
             names.empty() ? "-" : names[std::min<size_t>(1, names.size() - 1)].name, ")");
}

std::vector<std::string> unmatched(const std::vector<std::string>& texts, const char* what,
                                   const std::vector<scheme::ModuleName>& names) {
  try {
    return scheme::Patterns(texts).unmatched(names);
  } catch (Error& e) {
    e.add_context(what);
    throw;
  }
}

// The group size that suits all of `columns` best: readers have kernels for powers of two; -1, one scale a row, if none
// fits.
int64_t size_that_fits(const std::vector<int64_t>& columns) {
  for (const int64_t size : {128, 64, 32, 16, 8}) {
    if (std::all_of(columns.begin(), columns.end(), [&](int64_t n) { return n % size == 0; })) return size;
  }
  return -1;
}

// Of a scheme the group size, of weights or else of inputs, that does not divide `columns`, if there is one. Inputs
// have groups where weights have blocks: a narrower block at the edge is padded by every reader, a narrower group by
// none (compressed-tensors 0.20 and vLLM 0.32 fail in the forward pass).
std::optional<int64_t> size_that_does_not_divide(const Scheme& scheme, int64_t columns) {
  for (const auto& args : {scheme.weights, scheme.input_activations}) {
    if (args && args->group_size && columns % *args->group_size != 0) return args->group_size;
  }
  return std::nullopt;
}

std::string remedy_of_groups(const Scheme& scheme, const std::vector<int64_t>& columns) {
  if (!scheme.weights->group_size)
    return ", and no reader runs narrower groups of inputs: add them to ignore, or use FP8_DYNAMIC";
  if (scheme.weights->type == scheme::NumberType::Float) return ", and the scheme has no other: add them to ignore";
  return cat(": use --group-size ", size_that_fits(columns));
}

void check_group_sizes(const Assignment& assignment, const std::vector<model::ModuleInfo>& modules) {
  std::vector<const model::ModuleInfo*> wrong;
  std::vector<int64_t> columns;
  for (const model::ModuleInfo& module : modules) {
    const Scheme* scheme = assignment.find(module.name);
    if (scheme == nullptr) continue;
    columns.push_back(module.columns);
    if (size_that_does_not_divide(*scheme, module.columns)) wrong.push_back(&module);
  }
  if (wrong.empty()) return;
  const Scheme& scheme = *assignment.find(wrong[0]->name);
  const std::string others = wrong.size() > 1 ? cat(" and ", wrong.size() - 1, " more") : "";
  throw Error(ErrorKind::InvalidArgument,
              cat("group size ", *size_that_does_not_divide(scheme, wrong[0]->columns), " does not divide the ",
                  wrong[0]->columns, " columns of ", wrong[0]->name, others, remedy_of_groups(scheme, columns)));
}

// The same for each candidate of a budget.
void check_candidates(Assignment& assignment, const std::vector<model::ModuleInfo>& modules) {
  const BitBudget& budget = *assignment.budget;
  for (size_t candidate = 0; candidate < budget.count; ++candidate) {
    for (auto& [name, scheme] : assignment.scheme_of) {
      if (scheme >= budget.first && scheme < budget.first + budget.count) scheme = budget.first + candidate;
    }
    check_group_sizes(assignment, modules);
  }
}

// One table serves a tied model twice, and readers expect it as it is.
void check_quantizable(const model::ModuleInfo& module, const Scheme& scheme, bool tied_embeddings) {
  const bool is_head = module.is_head(), is_embedding = module.is_embedding();
  SWAGE_CHECK(module.block >= 0 || is_head || is_embedding, Unsupported, module.name,
              ": quantizing a projection beside the embedding is not supported; add it to ignore");
  SWAGE_CHECK((!is_head && !is_embedding) || !tied_embeddings, Unsupported, module.name,
              ": embedding and head of this model share one table, which stays as it is; add it to ignore");
  SWAGE_CHECK(module.class_name == "Linear" || !scheme.input_activations, Unsupported, module.name,
              ": an embedding has no activations to quantize");
  if (scheme.input_activations) model::check_activation_quantization(*scheme.input_activations, module.name);
}

// What one modifier quantizes: for each module the index of its group, or -1 where it leaves the module alone.
struct Choice {
  Groups groups;
  Groups attention;  // those of `groups` that are for attention, taken out
  std::vector<int64_t> group_of;
};

// A pattern that matches nothing was written for another model of the family, as vision towers and routers are, or is a
// typing error: a word where others match, an error where none does.
void check_patterns(const modifiers::Quantizer& quantizer, const Choice& choice, const std::vector<std::string>& ignore,
                    Assignment& out) {
  const std::vector<scheme::ModuleName>& names = out.modules;
  const std::vector<std::string> ignored = unmatched(ignore, "ignore", names);
  if (!ignored.empty())
    out.warnings.push_back(
        cat(quantizer.name(), ": ignore matches no module of this model: ", unmatched_text(ignored, names)));
  std::vector<std::string> left;
  bool any = !choice.attention.empty() || choice.groups.empty();
  for (const auto& [name, scheme] : choice.groups) {
    const std::vector<std::string> of_group = unmatched(scheme.targets, "targets", names);
    any = any || of_group.size() < scheme.targets.size();
    for (const std::string& target : of_group) {
      if (std::find(left.begin(), left.end(), target) == left.end()) left.push_back(target);
    }
  }
  SWAGE_CHECK(any, InvalidArgument, "targets matches no module of this model: ", unmatched_text(left, names));
  if (!left.empty())
    out.warnings.push_back(
        cat(quantizer.name(), ": targets matches no module of this model: ", unmatched_text(left, names)));
}

Choice choose(const modifiers::Quantizer& quantizer, const std::vector<model::ModuleInfo>& modules,
              Assignment& assignment) {
  Choice out{resolve_groups(quantizer), {}, {}};
  std::erase_if(out.groups, [&](const auto& group) {
    if (is_attention(group.second)) out.attention.push_back(group);
    return is_attention(group.second);
  });
  const Containers containers(modules, assignment.attention_class);
  for (auto& [name, scheme] : out.groups) scheme.targets = containers.expanded(without_words_for_all(scheme.targets));
  const std::vector<std::string> ignore = graph::with_head_named(quantizer.quantization().ignore, modules);
  check_patterns(quantizer, out, ignore, assignment);
  const scheme::SchemeMatcher matcher(out.groups, ignore);
  for (size_t i = 0; i < modules.size(); ++i) {
    const Scheme* found = modules[i].quantizable ? matcher.find(assignment.modules[i]) : nullptr;
    const auto same = [&](const auto& group) { return found != nullptr && found->weights && group.second == *found; };
    const auto group = std::find_if(out.groups.begin(), out.groups.end(), same);
    out.group_of.push_back(group == out.groups.end() ? -1 : group - out.groups.begin());
  }
  return out;
}

// Engines have classes of their own for head and embedding ("ParallelLMHead" in vLLM): a group that means them by class
// names them too.
void name_end(const model::ModuleInfo& module, Scheme& scheme) {
  if ((module.is_head() || module.is_embedding()) &&
      scheme::Patterns(scheme.targets).best({module.name, module.class_name}) == module.class_name)
    scheme.targets.push_back(module.name);
}

// Takes over what a modifier chose; its schemes go behind those that are there.
void add_choice(const Choice& choice, const modifiers::Quantizer& quantizer,
                const std::vector<model::ModuleInfo>& modules, bool tied_embeddings, Assignment& out) {
  const int64_t first = int64_t(out.schemes.size());
  if (quantizer.quantization().has_budget()) {
    SWAGE_CHECK(!out.budget, InvalidArgument,
                "two modifiers of the recipe have a bit budget; give one of them a scheme");
    out.budget = BitBudget{&quantizer, size_t(first), choice.groups.size()};
  }
  for (const auto& [name, scheme] : choice.groups) {
    out.schemes.push_back(scheme);
    out.scheme_names.push_back(scheme::describe(scheme));
    out.quantizers.push_back(&quantizer);
  }
  for (size_t i = 0; i < modules.size(); ++i) {
    const int64_t group = choice.group_of[i];
    if (group < 0) continue;
    check_quantizable(modules[i], choice.groups[size_t(group)].second, tied_embeddings);
    const bool fresh = out.scheme_of.emplace(modules[i].name, size_t(first + group)).second;
    SWAGE_CHECK(fresh, InvalidArgument, modules[i].name,
                ": two modifiers of the recipe would quantize it; add it to the ignore of one");
    name_end(modules[i], out.schemes[size_t(first + group)]);
  }
}

// Linears that stay as they are, and embeddings that readers would take for quantized.
std::vector<std::string> left_alone(const std::vector<model::ModuleInfo>& modules, const Assignment& assignment) {
  std::vector<std::string> targets, out;
  for (const Scheme& scheme : assignment.schemes)
    targets.insert(targets.end(), scheme.targets.begin(), scheme.targets.end());
  const scheme::Patterns patterns(std::move(targets));
  for (const model::ModuleInfo& module : modules) {
    if (assignment.find(module.name) != nullptr) continue;
    if (module.class_name == "Linear" || patterns.match({module.name, module.class_name})) out.push_back(module.name);
  }
  return with_names_of_readers(out, modules);
}

// The layers of GPT-2 are no linears for any reader, which leaves its head.
void refuse_empty(const std::vector<model::ModuleInfo>& modules) {
  const auto conv = std::find_if(modules.begin(), modules.end(), [](const model::ModuleInfo& module) {
    return !module.quantizable && module.stored.transposed;
  });
  SWAGE_CHECK(conv == modules.end(), Unsupported, "nothing is left to quantize: ", conv->name,
              " and the other layers of this model are stored transposed, as Conv1D, and neither vLLM nor transformers "
              "loads such layers quantized; take a model whose layers are Linear");
  throw Error(ErrorKind::InvalidArgument, "ignore leaves nothing to quantize");
}

}  // namespace

scheme::NamedSchemes Assignment::groups() const {
  scheme::NamedSchemes out;
  std::vector<int64_t> number;            // of each scheme among those that are stored
  for (const Scheme& scheme : schemes) {  // one that leaves its modules unquantized has served its purpose, as has a
                                          // candidate that no module got
    const bool is_stored = scheme.weights && !scheme.targets.empty();
    number.push_back(is_stored ? int64_t(out.size()) : -1);
    if (is_stored) out.emplace_back(cat("group_", out.size()), scheme);
  }
  std::map<std::string, size_t> wanted;
  for (const auto& [module, scheme] : scheme_of) {
    if (number[scheme] >= 0) wanted[module] = size_t(number[scheme]);
  }
  return scheme::stored_groups(std::move(out), modules, wanted);
}

const Scheme* Assignment::find(const std::string& module) const {
  const auto found = scheme_of.find(module);
  return found == scheme_of.end() ? nullptr : &schemes[found->second];
}

bool Assignment::needs_calibration() const {
  const auto on_data = [](const Scheme& scheme) {
    return scheme.input_activations && needs_range(*scheme.input_activations);
  };
  return kv_cache || std::any_of(schemes.begin(), schemes.end(), on_data);
}

std::string attention_class_of(const Json& config) {
  constexpr std::string_view kEnd = "ForCausalLM";
  const Json* architectures = config.find("architectures");
  if (architectures == nullptr || !architectures->is_array() || architectures->as_array().empty() ||
      !architectures->as_array()[0].is_string())
    return {};
  const std::string& name = architectures->as_array()[0].as_string();
  return name.ends_with(kEnd) ? name.substr(0, name.size() - kEnd.size()) + "Attention" : std::string();
}

Assignment assign_schemes(const modifiers::Chain& chain, const model::Model& model,
                          const std::string& attention_class) {
  Assignment out = assign_schemes(chain, model.modules(), model.tied_embeddings(), attention_class);
  SWAGE_CHECK(!out.kv_cache || (model.program().predicts == graph::Predicts::Next && !model.program().target),
              Unsupported, "kv_cache_scheme: the model has an encoder, whose keys and values are kept in no cache");
  return out;
}

Assignment assign_schemes(const modifiers::Chain& chain, const std::vector<model::ModuleInfo>& modules,
                          bool tied_embeddings, const std::string& attention_class) {
  Assignment out;
  out.attention_class = attention_class;
  for (const model::ModuleInfo& module : modules) out.modules.push_back({module.name, module.class_name});
  for (const modifiers::Quantizer* quantizer : chain.quantizers) {
    const Json& cache = quantizer->quantization().kv_cache_scheme;
    SWAGE_CHECK(cache.is_null() || !out.kv_cache, InvalidArgument,
                "two modifiers of the recipe have a kv_cache_scheme");
    if (!cache.is_null()) out.kv_cache = cache_args(cache);
    const Choice choice = choose(*quantizer, modules, out);
    for (const auto& [name, scheme] : choice.attention) add_attention(name, scheme, !choice.groups.empty(), out);
    add_choice(choice, *quantizer, modules, tied_embeddings, out);
  }
  out.ignore = left_alone(modules, out);
  if (out.scheme_of.empty() && !out.kv_cache && chain.sparsifiers.empty() && !chain.quantizers.empty())
    refuse_empty(modules);
  if (out.budget)
    check_candidates(out, modules);
  else
    check_group_sizes(out, modules);
  return out;
}

int64_t widest_input(const Assignment& assignment, const std::vector<model::ModuleInfo>& modules) {
  int64_t widest = 0;
  for (const model::ModuleInfo& module : modules) {
    if (assignment.scheme_of.contains(module.name)) widest = std::max(widest, module.columns);
  }
  return widest;
}

}  // namespace swage::pipeline
