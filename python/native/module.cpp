// swage._swage: the functions of swage.h for Python. The work runs on a thread of its own without the interpreter's
// lock, while the caller's thread looks for Ctrl-C.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "python/native/calls.h"
#include "python/native/json_cast.h"
#include "swage/base/error.h"
#include "swage/base/version.h"

namespace swage::python {
namespace {

namespace nb = nanobind;

constexpr auto kLook = std::chrono::milliseconds(50);  // how often the caller's thread looks for Ctrl-C

nb::dict dict_of(const ProgressEvent& event) {
  nb::dict out;
  out["stage"] = event.stage;
  out["layer"] = event.layer;
  out["layers"] = event.layers;
  out["module"] = event.module;
  out["loss"] = event.loss;
  out["modules_done"] = event.modules_done;
  out["modules"] = event.modules;
  out["milestone"] = event.milestone;
  out["tokens_per_second"] = event.tokens_per_second;
  out["elapsed_seconds"] = event.elapsed_seconds;
  out["eta_seconds"] = event.eta_seconds;
  out["rss_bytes"] = event.rss_bytes;
  return out;
}

// Calls back into Python from the thread that works. What they raise stops the work and is raised by the call.
class Callbacks {
 public:
  Callbacks(nb::object log, nb::object progress, nb::object text)
      : log_(std::move(log)),
        progress_(std::move(progress)),
        text_(std::move(text)) {}

  void install(Call& call) {
    call.context.cancel = &cancel_;
    call.context.log = [this](Severity severity, const std::string& message) {
      call_back(log_, [&] { log_(severity == Severity::Warning ? "warning" : "info", message); });
    };
    call.context.progress = [this](const ProgressEvent& event) {
      call_back(progress_, [&] { progress_(dict_of(event)); });
    };
    call.on_text = [this](size_t prompt, int64_t choice, const std::string& text) {
      call_back(text_, [&] { text_(prompt, choice, text); });
    };
  }
  void cancel() { cancel_ = true; }
  // With the interpreter's lock.
  void rethrow() {
    if (raised_) throw nb::python_error(std::move(*raised_));
  }

 private:
  template <class F>
  void call_back(const nb::object& function, F run) {
    if (!function.is_valid() || function.is_none() || cancel_) return;
    const nb::gil_scoped_acquire locked;
    try {
      run();
    } catch (nb::python_error& e) {
      if (!raised_) raised_.emplace(std::move(e));
      cancel_ = true;
    }
  }

  nb::object log_, progress_, text_;
  std::optional<nb::python_error> raised_;
  std::atomic<bool> cancel_ = false;
};

// What came of the work, once it is done.
struct Outcome {
  Json result;
  std::exception_ptr error;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
};

// Until the work is done; false if Ctrl-C, whose exception is set then, stopped it.
bool wait_for(Outcome& outcome, Callbacks& callbacks) {
  bool interrupted = false;
  while (true) {
    bool done = false;
    {
      const nb::gil_scoped_release unlocked;
      std::unique_lock lock(outcome.mutex);
      done = outcome.changed.wait_for(lock, kLook, [&] { return outcome.done; });
    }
    if (done) return !interrupted;
    if (!interrupted && PyErr_CheckSignals() != 0) {
      interrupted = true;
      callbacks.cancel();
    }
  }
}

nb::object call(const std::string& function, nb::handle options, const std::map<std::string, std::string>& environment,
                nb::object log, nb::object progress, nb::object text) {
  Call call;
  call.function = function;
  call.options = to_json(options);
  call.environment = environment;
  Callbacks callbacks(std::move(log), std::move(progress), std::move(text));
  callbacks.install(call);
  Outcome outcome;
  std::thread worker([&] {
    try {
      outcome.result = run(std::move(call));
    } catch (...) {
      outcome.error = std::current_exception();
    }
    const std::lock_guard lock(outcome.mutex);
    outcome.done = true;
    outcome.changed.notify_all();
  });
  const bool finished = wait_for(outcome, callbacks);
  {
    const nb::gil_scoped_release unlocked;
    worker.join();
  }
  if (!finished) throw nb::python_error();
  callbacks.rethrow();
  if (outcome.error) std::rethrow_exception(outcome.error);
  return to_python(outcome.result);
}

void translate(const std::exception_ptr& pointer, void* make_error) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Error& e) {
    // swage._errors.make(kind, message): an exception of the class that goes with the kind.
    const nb::handle make(static_cast<PyObject*>(make_error));
    nb::object error = make(nb::cast(std::string(name_of(e.kind()))), nb::cast(std::string(e.what())));
    PyErr_SetObject(error.type().ptr(), error.ptr());
  }
}

}  // namespace
}  // namespace swage::python

NB_MODULE(_swage, m) {
  namespace nb = nanobind;
  using namespace swage::python;
  m.attr("__version__") = swage::kVersion;
  m.attr("torch_version") = SWAGE_TORCH_VERSION;  // of the libtorch that libswage.so was built for
  nb::object make = nb::module_::import_("swage._errors").attr("make");
  nb::register_exception_translator(translate, make.release().ptr());  // lives as long as the process
  m.def("open_library", &open_library, nb::arg("file"), "Opens libswage.so.");
  m.def("library_is_open", &library_is_open, "Whether open_library() was called with success.");
  m.def("functions", &functions, "Names that call() takes.");
  m.def("call", &call, nb::arg("function"), nb::arg("options"), nb::arg("environment"), nb::arg("log").none(),
        nb::arg("progress").none(), nb::arg("text").none(),
        "Runs a function of swage.h: options and result as JSON has them. Raises swage.Error.");
  m.def(
      "fields_of", [](const std::string& function) { return to_python(fields_of(function)); }, nb::arg("function"),
      "Names, defaults and explanations of a function's options.");
  m.def("modifiers", [] { return to_python(modifiers()); }, "The same of the modifiers that a recipe may name.");
  m.def(
      "check_modifier",
      [](const std::string& modifier, nb::handle fields) { check_modifier(modifier, to_json(fields)); },
      nb::arg("modifier"), nb::arg("fields"), "Raises swage.Error naming the nearest field for one that is none.");
  m.def("preset_names", [] { return swage::preset_names(); }, "Presets that a scheme may name.");
}
