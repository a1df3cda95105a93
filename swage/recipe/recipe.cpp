#include "swage/recipe/recipe.h"

#include <algorithm>
#include <array>

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/base/yaml.h"
#include "swage/recipe/run_options.h"
#include "swage/recipe/shipped.h"

namespace swage::recipe {
namespace {

constexpr const char* kRotationType = "random-hadamard";  // of --rotate
constexpr std::array<std::string_view, 5> kSaysHow = {"scheme", "config_groups", "kv_cache_scheme", "target_bits",
                                                      "target_size"};

// Methods that prepare weights for another that rounds them, and the shipped recipes that hold both.
struct Preparing {
  std::string_view method, name, recipe;
};
constexpr std::array kPreparing = {
    Preparing{"awq", "AWQModifier", "w4a16-awq"},
    Preparing{"quip", "QuIPModifier", "w4a16-quip"},
    Preparing{"smoothquant", "SmoothQuantModifier", "w8a8-int8"},
    Preparing{"spinquant", "SpinQuantModifier", "w4a16-rotated"},
};

// "batched_quantization, end say how ..."
std::string only_for_llm_compressor(const std::vector<std::string>& fields) {
  std::string names;
  for (const std::string& field : fields) names += (names.empty() ? "" : ", ") + field;
  return cat(names, fields.size() == 1 ? " says" : " say", " how LLM Compressor runs; ",
             fields.size() == 1 ? "it changes" : "they change", " nothing here");
}

class Parser {
 public:
  Parser(const std::string& source, const Json& instead) : source_(source), instead_(instead) {}

  Recipe parse(const Json& root) {
    SWAGE_CHECK(root.is_object(), InvalidArgument, source_, ": expected stages by name (default_stage)");
    for (const auto& [name, value] : root.as_object()) {
      if (is_stage(name)) {
        add_stage(name, value);
      } else if (name.ends_with("_modifiers")) {
        add_modifiers(value, cat(source_, ": ", name));
      } else if (name == "swage") {
        SWAGE_CHECK(value.is_object(), InvalidArgument, source_, ": swage: expected settings of the run by name");
        out_.run = value;
        if (const Json* bytes = value.find("max_shard_bytes")) {  // as recipes saved by earlier builds have it
          out_.run.set("max_shard_size", bytes->dump() + "B");
          out_.run.erase("max_shard_bytes");
        }
        RunSettings known;
        read_fields(out_.run, cat(source_, ": swage"), known);
      } else if (name == "args") {
        out_.warnings.push_back(cat(source_, ": args: nothing refers to them; they change nothing"));
      } else {
        add_other(name, value, source_, "expected a name that ends in _stage or _modifiers");
      }
    }
    SWAGE_CHECK(!drafts_.empty(), InvalidArgument, source_, ": names no modifier");
    lend_schemes();
    for (const auto& [name, value] : instead_.as_object()) replace(name, value);
    for (const Draft& draft : drafts_)
      out_.modifiers.push_back(modifiers::make_modifier(draft.name, draft.fields, draft.where));
    return std::move(out_);
  }

 private:
  // A modifier to be made when all are known.
  struct Draft {
    std::string name, where;
    Json fields;
  };

  // LLM Compressor numbers the stages of runs that followed each other on one model: default_stage_0.
  static bool is_stage(std::string_view name) {
    const size_t end = name.find_last_not_of("0123456789");
    if (end != std::string_view::npos && name[end] == '_' && end + 1 < name.size()) name = name.substr(0, end);
    return name.ends_with("_stage");
  }

  void add_stage(const std::string& stage, const Json& groups) {
    const std::string where = cat(source_, ": ", stage);
    SWAGE_CHECK(groups.is_object(), InvalidArgument, where, ": expected groups of modifiers (default_modifiers)");
    for (const auto& [name, group] : groups.as_object()) {
      if (name.ends_with("_modifiers") || name == "modifiers")
        add_modifiers(group, cat(where, ": ", name));
      else if (name == "run_type")
        out_.warnings.push_back(cat(where, ": ", only_for_llm_compressor({name})));
      else
        add_other(name, group, where, "expected a name that ends in _modifiers");
    }
  }

  // Remarks and versions are passed over with a word; what could hold modifiers is not.
  void add_other(const std::string& name, const Json& value, const std::string& where, const char* expected) {
    SWAGE_CHECK(!value.is_object() && !value.is_array(), InvalidArgument, where, ": \"", name, "\": ", expected);
    out_.warnings.push_back(cat(where, ": ", name, ": no part of a recipe; it changes nothing"));
  }

  void add_modifiers(const Json& group, const std::string& where) {
    SWAGE_CHECK(group.is_object(), InvalidArgument, where, ": expected modifiers by name");
    for (const auto& [name, fields] : group.as_object()) {
      SWAGE_CHECK(fields.is_object() || fields.is_null(), InvalidArgument, where, ": ", name,
                  ": expected fields by name");
      drafts_.push_back({name, where, fields.is_null() ? Json::object() : fields});
      const std::vector<std::string> ignored = modifiers::ignored_fields(fields);
      if (!ignored.empty()) out_.warnings.push_back(cat(where, ": ", name, ": ", only_for_llm_compressor(ignored)));
    }
  }

  static bool says_how(const Draft& draft) {
    return std::any_of(kSaysHow.begin(), kSaysHow.end(), [&](std::string_view name) {
      const Json* value = draft.fields.find(name);
      return value != nullptr && !value->is_null();
    });
  }

  // What a saved recipe spells out of a field that nobody gave.
  static bool is_default(const std::string& name, const Json& value) {
    if (value.is_null() || name == "requires_calibration_data" || name == "group") return true;
    if (name == "targets") return value.dump() == R"("Linear")" || value.dump() == R"(["Linear"])";
    return (value.is_array() && value.as_array().empty()) || (value.is_bool() && !value.as_bool());
  }

  // A GPTQModifier may leave what is quantized, and how, to a QuantizationModifier of the same recipe, whose place it
  // takes.
  void lend_schemes() {
    for (size_t i = 0; i < drafts_.size(); ++i) {
      if (!is_gptq(drafts_[i].name) || says_how(drafts_[i])) continue;
      const auto lender = std::find_if(drafts_.begin(), drafts_.end(), [](const Draft& draft) {
        return draft.name == "QuantizationModifier" && says_how(draft);
      });
      if (lender == drafts_.end()) continue;
      for (const auto& [name, value] : lender->fields.as_object()) {
        const Json* own = drafts_[i].fields.find(name);
        if (own == nullptr || is_default(name, *own))
          drafts_[i].fields.set(name, value);
        else
          SWAGE_CHECK(*own == value || is_default(name, value), InvalidArgument, drafts_[i].where,
                      ": QuantizationModifier and GPTQModifier both give ", name,
                      ", and GPTQModifier has no scheme of its own; give it one, or leave ", name,
                      " out of one of them");
      }
      out_.warnings.push_back(
          cat(drafts_[i].where, ": GPTQModifier has no scheme: it takes that of QuantizationModifier, in its place"));
      drafts_.erase(lender);
      return lend_schemes();
    }
  }

  // A field given beside the recipe, in the modifiers that have it. Which modules are meant (targets, ignore) is a
  // matter of those that round or prune; what rescalers call so are layers to divide.
  void replace(const std::string& name, const Json& value) {
    std::vector<Draft*> having;
    for (Draft& draft : drafts_) {
      if (has_field(draft.name, name)) having.push_back(&draft);
    }
    SWAGE_CHECK(!having.empty(), InvalidArgument, source_, ": none of its modifiers has the field ", name);
    for (Draft* draft : having) {
      const Json* groups = draft->fields.find("config_groups");
      const bool spelled_out = name == "scheme" && ((groups != nullptr && !groups->is_null()) || having.size() > 1);
      SWAGE_CHECK(
          !spelled_out, InvalidArgument, source_,
          ": has several schemes, or spells them out; scheme beside it could mean any of them: change the file");
      draft->fields.set(name, value);
      if (name == "scheme") forget_defaults(*draft);
    }
  }

  // A saved recipe spells out what follows from its scheme, which another scheme does not share.
  void forget_defaults(Draft& draft) const {
    if (out_.run.find("version") == nullptr) return;
    for (const char* field : {"group_size", "symmetric", "norm", "sweeps"}) {
      if (instead_.find(field) == nullptr && draft.fields.find(field) != nullptr) draft.fields.set(field, Json());
    }
  }

  static bool has_field(const std::string& modifier, const std::string& field) {
    const bool selects = field == "targets" || field == "ignore";
    const bool prepares = std::any_of(kPreparing.begin(), kPreparing.end(), [&](const Preparing& row) {
      return row.method == modifier || row.name == modifier;
    });
    const auto rows = modifiers::modifier_table();
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const auto& known) {
      return known.name == modifier || known.method == modifier;
    });
    if (row == rows.end() || (selects && prepares)) return false;
    const std::vector<std::string> fields = row->fields();
    return std::find(fields.begin(), fields.end(), field) != fields.end();
  }

  static bool is_gptq(const std::string& name) { return name == "GPTQModifier" || name == "gptq"; }

  const std::string source_;
  const Json& instead_;
  std::vector<Draft> drafts_;
  Recipe out_;
};

// The YAML between the lines "---" that a Markdown file may begin with; else all of it.
std::string_view front_matter(std::string_view text, std::string_view source) {
  constexpr std::string_view kFence = "---\n";
  if (!source.ends_with(".md") || !text.starts_with(kFence)) return text;
  const size_t end = text.find("\n---", kFence.size());
  return end == std::string_view::npos ? text : text.substr(kFence.size(), end + 1 - kFence.size());
}

}  // namespace

Recipe parse_recipe(std::string_view text, const std::string& source, const Json& instead) {
  return Parser(source, instead).parse(parse_yaml(front_matter(text, source), source));
}

Recipe single_modifier(std::string_view method, const Json& fields, const std::string& source) {
  Recipe out;
  out.modifiers.push_back(modifiers::make_modifier(method, fields, source));
  return out;
}

Recipe method(std::string_view name, const Json& fields, const std::string& source) {
  const auto prepares =
      std::find_if(kPreparing.begin(), kPreparing.end(), [&](const Preparing& row) { return row.method == name; });
  if (prepares == kPreparing.end()) return single_modifier(name, fields, source);
  return parse_recipe(*shipped_recipe(prepares->recipe), source, fields);
}

Recipe recipe_of_method(std::string_view name, const Json& fields, const std::vector<std::string>& rotations,
                        std::optional<double> prune_experts) {
  Recipe out = method(name, fields, "--method");
  if (prune_experts) {
    Json of_reap = Json::object();
    of_reap.set("sparsity", *prune_experts);
    out.modifiers.insert(out.modifiers.begin(), modifiers::make_modifier("reap", of_reap, "--prune-experts"));
  }
  if (rotations.empty()) return out;
  Json names = Json::array();
  for (const std::string& rotation : rotations) names.push_back(rotation);
  Json of_rotation = Json::object();
  of_rotation.set("rotations", std::move(names));
  of_rotation.set("transform_type", kRotationType);
  out.modifiers.insert(out.modifiers.begin(), modifiers::make_modifier("spinquant", of_rotation, "--rotate"));
  return out;
}

namespace {

// All fields: those that are not set are null, but for one that means something as null.
Json every_field(const modifiers::Modifier& modifier) {
  Json out = modifier.config();
  const auto rows = modifiers::modifier_table();
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const modifiers::ModifierRow& known) { return known.name == modifier.name(); });
  for (const std::string& field : row->fields()) {
    if (out.find(field) == nullptr && field != "actorder") out.set(field, Json());
  }
  return out;
}

}  // namespace

std::string to_yaml(const Recipe& recipe) {
  std::vector<Json> groups(1, Json::object());  // a new one where a name comes again
  for (const auto& modifier : recipe.modifiers) {
    if (groups.back().find(modifier->name()) != nullptr) groups.push_back(Json::object());
    groups.back().set(modifier->name(), every_field(*modifier));
  }
  Json root;
  for (size_t i = 0; i < groups.size(); ++i) {
    Json stage;
    stage.set("default_modifiers", std::move(groups[i]));
    root.set(i == 0 ? std::string("default_stage") : cat("default_", i, "_stage"), std::move(stage));
  }
  if (!recipe.run.as_object().empty()) root.set("swage", recipe.run);
  return dump_yaml(root);
}

}  // namespace swage::recipe
