"""model_free_ptq(): weights quantized from the shards alone, for any architecture."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Iterable, Optional

from ._errors import InvalidArgumentError, UnsupportedError
from ._library import call
from ._recipe import recipe_file
from .modifiers import QuantizationModifier
from .modifiers._base import plain


def model_free_ptq(
    model_stub: Any,
    save_directory: Any,
    scheme: Any = None,
    config: Any = None,
    ignore: Iterable[str] = (),
    max_workers: int = 1,
    device: Any = None,
    converter: Any = None,
) -> None:
    """Quantizes a checkpoint without a definition of the model, by schemes that need no data.

    Args:
        model_stub: folder, or hub id.
        save_directory: folder to make.
        scheme: a preset's name, or a QuantizationScheme; instead of config.
        config: a QuantizationConfig of compressed-tensors, or a dict like it.
        ignore: modules to leave as they are; norms always are.
        max_workers: passed over; swage chooses its threads.
        device: the first one that is named.
        converter: refused; swage reads FP8, GPTQ, AWQ and compressed-tensors sources by itself.

    Raises:
        swage.Error
    """
    if (scheme is None) == (config is None):
        raise InvalidArgumentError("model_free_ptq: give scheme or config, one of them")
    if converter is not None:
        raise UnsupportedError("model_free_ptq: converter is not supported: quantized sources are read as they are; give none")
    fields: dict[str, Any] = {"ignore": list(ignore)}
    if isinstance(scheme, str):
        fields.update(scheme=scheme.upper(), targets=["Linear"])
    elif scheme is not None:
        fields["config_groups"] = {"group_0": scheme}
    else:
        told = plain(config)
        fields["config_groups"] = told["config_groups"]
        fields["ignore"] += [one for one in told.get("ignore") or [] if one not in fields["ignore"]]
        if told.get("kv_cache_scheme"):
            fields["kv_cache_scheme"] = told["kv_cache_scheme"]
    if isinstance(device, (list, tuple)):
        device = device[0] if device else None
    with tempfile.TemporaryDirectory(prefix="swage-") as folder:
        recipe = recipe_file(QuantizationModifier(**fields), Path(folder))
        options = {"model": model_stub, "output": save_directory, "recipe": recipe, "model_free": True}
        call("compress", {**options, "device": None if device is None else str(device)})
