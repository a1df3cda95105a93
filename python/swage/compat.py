"""Names of other packages for scripts that stay as they are: after install(), `import llmcompressor` is swage."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from contextlib import nullcontext
from typing import Any, Callable, ContextManager

# Modules of llmcompressor that are modules of swage under the same path.
_SAME = """modifiers modifiers.awq modifiers.autoround modifiers.gptq modifiers.logarithmic_equalization modifiers.obcq
modifiers.pruning modifiers.pruning.constant modifiers.pruning.magnitude modifiers.pruning.reap
modifiers.pruning.sparsegpt modifiers.pruning.wanda modifiers.quantization modifiers.smoothquant modifiers.transform
modifiers.transform.awq modifiers.transform.quip modifiers.transform.smoothquant modifiers.transform.spinquant""".split()


def load_context(model_cls: Any = None) -> ContextManager[None]:
    """LLM Compressor's context for loading: nothing has to be patched, since swage reads the checkpoint itself."""
    return nullcontext()


def get_rank_partition(split: str, num_samples: int) -> str:
    """The part of a split's first rows that this rank calibrates on: all of them without ranks.

    Returns:
        "split[a:b]"
    """
    import os

    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    return f"{split}[{num_samples * rank // world}:{num_samples * (rank + 1) // world}]"


def dispatch_model(model: Any, *_: Any, **__: Any) -> Any:
    """Puts the dequantized weights into a model that oneshot() compressed, so that generate() runs on them.

    Returns:
        The model.
    """
    from ._model import put_weights_back

    put_weights_back(model)
    return model


def load_offloaded_model(*_: Any, **__: Any) -> ContextManager[None]:
    """Of compressed-tensors: nothing has to be patched."""
    return nullcontext()


def init_dist(*_: Any, **__: Any) -> None:
    """Ranks: swage runs as one process.

    Raises:
        swage.UnsupportedError: under torchrun with more than one process.
    """
    import os

    from ._errors import UnsupportedError

    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UnsupportedError("init_dist: swage has no ranks; run one process without torchrun")


def get_device_map(model: Any) -> dict[str, str]:
    """Where the parts of a model lie: in the host's memory, all of them."""
    return {"": str(getattr(model, "device", "cpu"))}


def _old_transformers(name: str) -> Any:
    """Names that release 0.1 had in llmcompressor.transformers."""
    if name == "SparseAutoModelForCausalLM":
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM
    raise AttributeError(f"module 'llmcompressor.transformers' has no attribute '{name}'")


def _module(name: str, members: dict[str, Any]) -> types.ModuleType:
    module = types.ModuleType(name, f"{name}, by swage")
    module.__dict__.update(members)
    module.__path__ = []  # a package, so that modules below it are found in sys.modules
    sys.modules[name] = module
    parent, _, own = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], own, module)
    return module


def _llmcompressor() -> None:
    import swage

    from ._session import active_session, create_session, reset_session

    session = {"active_session": active_session, "create_session": create_session, "reset_session": reset_session}
    entry = {"oneshot": swage.oneshot, "model_free_ptq": swage.model_free_ptq}
    tools: dict[str, Callable[..., Any]] = {"load_context": load_context, "dispatch_for_generation": dispatch_model}
    _module("llmcompressor", {**entry, **session, "__version__": "0.14.0.1", "__swage__": swage.__version__})
    _module("llmcompressor.core", session)
    _module("llmcompressor.entrypoints", entry)
    _module("llmcompressor.entrypoints.oneshot", entry)
    _module("llmcompressor.transformers", {"oneshot": swage.oneshot, "__getattr__": _old_transformers})
    _module("llmcompressor.utils", tools)
    _module("llmcompressor.utils.dev", tools)
    _module("llmcompressor.datasets", {"get_rank_partition": get_rank_partition})
    _module("llmcompressor.datasets.utils", {"get_rank_partition": get_rank_partition})
    for path in _SAME:
        module = importlib.import_module(f"swage.{path}")
        name = f"llmcompressor.{path}"
        sys.modules[name] = module
        parent, _, own = name.rpartition(".")
        if parent == "llmcompressor":
            setattr(sys.modules[parent], own, module)


def _compressed_tensors() -> None:
    """The parts that scripts use, where compressed-tensors itself is not installed; transformers needs the real one to
    read what was written. Of the real one the objects are taken as they are."""
    if importlib.util.find_spec("compressed_tensors") is not None:
        return
    from . import quantization

    names = {name: getattr(quantization, name) for name in dir(quantization) if not name.startswith("_")}
    offload = {f.__name__: f for f in (dispatch_model, load_offloaded_model, init_dist, get_device_map)}
    _module("compressed_tensors", {})
    _module("compressed_tensors.quantization", names)
    _module("compressed_tensors.offload", offload)


def install() -> None:
    """Lets `import llmcompressor` mean swage in this process, whether or not the package is installed. Call it before
    the script's own imports, or run the script by `python -m swage.llmcompressor script.py`."""
    _llmcompressor()
    _compressed_tensors()


def uninstall() -> None:
    """Takes back what install() did."""
    for name in list(sys.modules):
        if name == "llmcompressor" or name.startswith("llmcompressor."):
            del sys.modules[name]
    found = sys.modules.get("compressed_tensors")
    if found is not None and (found.__doc__ or "").endswith("by swage"):
        for name in [n for n in sys.modules if n.split(".")[0] == "compressed_tensors"]:
            del sys.modules[name]
