#include "python/native/calls.h"

#include <dlfcn.h>

#include <algorithm>

#include "swage/api/entry.h"
#include "swage/base/fields.h"

namespace swage::python {
namespace {

const api::Functions* opened = nullptr;

const api::Functions& library() {
  SWAGE_CHECK(opened != nullptr, Internal, "libswage.so is not open");
  return *opened;
}

// What every function is told beside its options.
struct ContextFields {
  std::string device = "cpu";
  uint64_t seed = 42;
  int64_t threads = 0;
  std::string architecture;

  template <class V>
  void visit(V& v) {
    v("device", device, "auto, cpu, cuda or cuda:INDEX");
    v("seed", seed, "of everything that is drawn at random");
    v("threads", threads, "0: as many as there are processors for this process");
    v("architecture", architecture, "take the model for one of this model_type, whatever its config.json says");
  }
};

template <class Options>
struct WithContext {
  Options options;
  ContextFields context;

  template <class V>
  void visit(V& v) {
    options.visit(v);
    context.visit(v);
  }
};

struct FolderOptions {
  std::string model;

  template <class V>
  void visit(V& v) {
    v("model", model, "folder of a checkpoint");
  }
};

struct ReaderOptions {
  std::string reader, preset, actorder;

  template <class V>
  void visit(V& v) {
    v("reader", reader, "who will read the output: vllm, vllm:hopper, transformers and others");
    v("preset", preset, "taken if the reader takes it");
    v("actorder", actorder, "order of the columns that the scheme has to allow");
  }
};

struct NoOptions {
  template <class V>
  void visit(V&) {}
};

HubSettings hub_of(const Call& call) {
  HubSettings hub;
  hub.variable = [variables = call.environment](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  return hub;
}

Context context_of(const Call& call, const ContextFields& fields) {
  SWAGE_CHECK(fields.threads >= 0, InvalidArgument, "threads ", fields.threads, ": expected a number from 0 on");
  Context context = call.context;
  context.device = parse_device(fields.device);
  context.seed = fields.seed;
  context.threads = int(std::min<int64_t>(fields.threads, 1 << 20));
  context.architecture = fields.architecture;
  const auto variable = [&](const char* name) {
    const auto found = call.environment.find(name);
    return found == call.environment.end() ? std::string() : found->second;
  };
  context.device.torch_folder = variable("SWAGE_TORCH");
  context.device.f32_products = variable("SWAGE_GPU_PRODUCTS") == "f32";
  return context;
}

// The names that the program's options have, which say what counts before a recipe's own words of the run.
std::vector<std::string> given_options(const Json& options) {
  std::vector<std::string> given;
  for (const auto& [name, value] : options.as_object()) {
    std::string option = name == "pack" ? "no-pack" : name;
    std::replace(option.begin(), option.end(), '_', '-');
    if (!value.is_null()) given.push_back(option);
  }
  return given;
}

template <class Options>
Options read(const Call& call, Context& context) {
  WithContext<Options> all;
  read_fields(call.options, call.function, all);
  context = context_of(call, all.context);
  return std::move(all.options);
}

Json run_compress(const Call& call) {
  Context context;
  auto options = read<CompressOptions>(call, context);
  options.hub = hub_of(call);
  options.given = given_options(call.options);
  return library().compress(options, context);
}

// Of options that hold how names of the hub are looked up, and nothing else that the caller knows alone.
template <class Options, auto kFunction>
Json run_plain(const Call& call) {
  Context context;
  auto options = read<Options>(call, context);
  options.hub = hub_of(call);
  return (library().*kFunction)(options, context);
}

Json run_generate(const Call& call) {
  Context context;
  auto options = read<GenerateOptions>(call, context);
  options.engine.hub = hub_of(call);
  options.request.logprobs |= options.request.top_logprobs > 0;
  return library().generate(options, context, [&](size_t prompt, const runtime::Event& event) {
    if (!event.text.empty()) call.on_text(prompt, event.choice, event.text);
  });
}

Json run_resolve(const Call& call) {
  Context context;
  const auto options = read<FolderOptions>(call, context);
  return library().resolve_model(options.model, hub_of(call), context);
}

Json run_inspect(const Call& call) {
  FolderOptions options;
  read_fields(call.options, call.function, options);
  return inspect(options.model);
}

Json run_scheme_for(const Call& call) {
  ReaderOptions options;
  read_fields(call.options, call.function, options);
  return scheme_for(options.reader, options.preset, options.actorder);
}

// Names and defaults of fields that are visited; defaults in the words that JSON has for them.
class FieldLister {
 public:
  template <class T>
  void operator()(std::string_view name, T& value, std::string_view help) {
    JsonFieldWriter writer;
    writer(name, value, help);
    const Json written = writer.take();
    Json field = Json::object();
    field.set("name", name);
    field.set("default", written.find(name) == nullptr ? Json() : written.at(name));
    field.set("help", help);
    fields.push_back(std::move(field));
  }
  Json fields = Json::array();
};

template <class Options>
Json list_fields() {
  FieldLister lister;
  Options options;
  options.visit(lister);
  return std::move(lister.fields);
}

struct Function {
  const char* name;
  Json (*run)(const Call& call);
  Json (*fields)();
};

constexpr Function kFunctions[] = {
    {"compress", run_compress, list_fields<WithContext<CompressOptions>>},
    {"estimate", run_plain<EstimateOptions, &api::Functions::estimate>, list_fields<WithContext<EstimateOptions>>},
    {"convert", run_plain<ConvertOptions, &api::Functions::convert>, list_fields<WithContext<ConvertOptions>>},
    {"evaluate", run_plain<EvaluateOptions, &api::Functions::evaluate>, list_fields<WithContext<EvaluateOptions>>},
    {"generate", run_generate, list_fields<WithContext<GenerateOptions>>},
    {"push", run_plain<PushOptions, &api::Functions::push>, list_fields<WithContext<PushOptions>>},
    {"resolve_model", run_resolve, list_fields<WithContext<FolderOptions>>},
    {"about", [](const Call&) { return library().about(); }, list_fields<NoOptions>},
    {"inspect", run_inspect, list_fields<FolderOptions>},
    {"schemes", [](const Call&) { return schemes(); }, list_fields<NoOptions>},
    {"scheme_for", run_scheme_for, list_fields<ReaderOptions>},
};

const Function& function_called(const std::string& name) {
  for (const Function& function : kFunctions) {
    if (name == function.name) return function;
  }
  throw Error(ErrorKind::InvalidArgument, cat("no function \"", name, "\""));
}

}  // namespace

void open_library(const std::string& file) {
  if (opened != nullptr) return;
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  SWAGE_CHECK(handle != nullptr, Io, file, " does not load: ", dlerror());
  using Entry = const api::Functions* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(handle, "swage_functions_0_1_0"));
  SWAGE_CHECK(entry != nullptr, Io, file, " is of another version than this package (", kVersion, ")");
  opened = entry();
}

bool library_is_open() { return opened != nullptr; }

std::vector<std::string> functions() {
  std::vector<std::string> names;
  for (const Function& function : kFunctions) names.emplace_back(function.name);
  return names;
}

Json run(Call call) { return function_called(call.function).run(call); }

Json fields_of(const std::string& function) { return function_called(function).fields(); }

Json modifiers() {
  Json out = Json::object();
  modifiers::for_each_config([&](auto config) {
    FieldLister lister;
    config.visit(lister);
    Json one = Json::object();
    one.set("method", config.kName.method);
    one.set("fields", std::move(lister.fields));
    out.set(config.kName.recipe, std::move(one));
  });
  return out;
}

void check_modifier(const std::string& modifier, const Json& fields) {
  bool known = false;
  modifiers::for_each_config([&](auto config) {
    if (config.kName.recipe != modifier) return;
    known = true;
    read_fields(fields, modifier, config);
  });
  SWAGE_CHECK(known, InvalidArgument, "no modifier \"", modifier, "\"");
}

}  // namespace swage::python
