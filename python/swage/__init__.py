"""swage: compresses language models; scripts written for LLM Compressor run on it.

    import swage
    swage.compress("./SmolLM2-135M", "./Out", data="calib.jsonl", scheme="W4A16", group_size=64)

    from swage import oneshot
    from swage.modifiers.quantization import GPTQModifier
    oneshot(model="./SmolLM2-135M", recipe=GPTQModifier(scheme="W4A16", ignore=["lm_head"]), dataset="builtin",
            output_dir="./Out")

Importing it loads neither torch nor transformers nor libswage.so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._api import about, compress, convert, estimate, evaluate, generate, inspect, options, push, scheme_for, schemes
from ._errors import (
    CancelledError,
    CorruptDataError,
    Error,
    InternalError,
    InvalidArgumentError,
    IoError,
    NumericalError,
    UnsupportedError,
)
from ._swage import __version__

if TYPE_CHECKING:
    from ._model import Model
    from ._model_free import model_free_ptq
    from ._oneshot import oneshot
    from ._session import active_session, create_session, reset_session

_LATER = {
    "oneshot": "_oneshot",
    "Model": "_model",
    "model_free_ptq": "_model_free",
    "active_session": "_session",
    "create_session": "_session",
    "reset_session": "_session",
}

__all__ = [
    "CancelledError",
    "CorruptDataError",
    "Error",
    "InternalError",
    "InvalidArgumentError",
    "IoError",
    "Model",
    "NumericalError",
    "UnsupportedError",
    "__version__",
    "about",
    "active_session",
    "compress",
    "convert",
    "create_session",
    "estimate",
    "evaluate",
    "generate",
    "inspect",
    "model_free_ptq",
    "oneshot",
    "options",
    "push",
    "reset_session",
    "scheme_for",
    "schemes",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'swage' has no attribute '{name}'")
    import importlib

    value = getattr(importlib.import_module(f"swage.{_LATER[name]}"), name)
    globals()[name] = value
    return value
