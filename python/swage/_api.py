"""The functions of swage for Python: options by name, results as JSON has them."""

from __future__ import annotations

import sys
from os import PathLike
from typing import Any, Optional, Union

from . import _swage
from ._errors import InvalidArgumentError
from ._library import OnText, Progress, call

Path = Union[str, "PathLike[str]"]


def _field_names(function: str) -> set[str]:
    return {field["name"] for field in _swage.fields_of(function)}


def _modifier_fields() -> dict[str, str]:
    """Each field of a modifier, with the method of the first modifier that has it."""
    out: dict[str, str] = {}
    for modifier in _swage.modifiers().values():
        for field in modifier["fields"]:
            out.setdefault(field["name"], modifier["method"])
    return out


_METHODS_OF_ONE = ("gptq", "rtn", "sparsegpt", "wanda", "magnitude", "reap")


def nearest(name: str, known: list[str]) -> str:
    """Of `known` the name that is most like this one; empty if none is."""
    import difflib

    found = difflib.get_close_matches(name, known, 1)
    return found[0] if found else ""


def _take_modifier_fields(function: str, options: dict[str, Any]) -> None:
    """Moves fields of modifiers (scheme=, group_size=) into "fields", and adds what the program adds without a recipe:
    scheme W4A16 and ignore lm_head."""
    known, of_modifiers = _field_names(function), _modifier_fields()
    fields = dict(options.get("fields") or {})
    for name in [n for n in options if n not in known and n in of_modifiers]:
        fields[name] = options.pop(name)
    for name in options:
        if name not in known:
            near = nearest(name, [*known, *of_modifiers])
            raise InvalidArgumentError(f'{function}: unknown option "{name}"' + (f'; did you mean "{near}"?' if near else ""))
    method = str(options.get("method") or "gptq").lower()
    options["method"] = method
    if not options.get("recipe"):
        quantizes = method in ("gptq", "rtn") or method not in _METHODS_OF_ONE
        if quantizes and not {"scheme", "target_bits", "target_size", "config_groups"} & set(fields):
            fields["scheme"] = "W4A16"
        if method != "reap":
            fields.setdefault("ignore", ["lm_head"])
    options["fields"] = fields


def _progress_or_bar(progress: Union[Progress, bool, None]) -> Optional[Progress]:
    """A function as it is; True, or None in a terminal with tqdm: a bar; False: none."""
    if callable(progress):
        return progress
    wanted = sys.stderr.isatty() if progress is None else progress
    if not wanted:
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    bar = tqdm(unit="module", leave=False)

    def show(event: dict[str, Any]) -> None:
        if event["modules"]:
            bar.total, bar.n = event["modules"], event["modules_done"]
        layer = f" layer {event['layer'] + 1}/{event['layers']}" if event["layer"] >= 0 else ""
        bar.set_description_str(event["stage"] + layer)

    return show


def compress(
    model: Path,
    output: Path,
    *,
    recipe: Optional[Path] = None,
    method: Optional[str] = None,
    progress: Union[Progress, bool, None] = None,
    **options: Any,
) -> dict[str, Any]:
    """Compresses a checkpoint and writes the result as a new one.

    Args:
        model: folder of a Hugging Face checkpoint, or a hub id.
        output: folder to make.
        recipe: YAML or JSON file, or the name of a shipped recipe ("w4a16").
        method: "gptq", "rtn", "awq", ... where no recipe is given.
        progress: a function of an event (dict with stage, layer, layers, module, loss, modules_done, modules,
            elapsed_seconds, eta_seconds, ...); True or, in a terminal, None: a bar of tqdm; False: nothing.
        **options: ``data``, ``num_calibration_samples``, ``max_seq_length``, ``seed``, ``device``, ``max_memory``,
            ``overwrite`` and what else ``swage.options("compress")`` lists; and fields of the modifiers
            (``scheme="W4A16"``, ``group_size=64``, ``ignore=[...]``), which count before the recipe's.

    Returns:
        The report that is also written to ``output/swage_report.json``.

    Raises:
        swage.Error: with ``kind`` and ``hint``; an unknown option names the nearest one.
        KeyboardInterrupt: on Ctrl-C; the same call goes on after the last finished layer.
    """
    every = dict(options, model=model, output=output, recipe=recipe, method=method)
    _take_modifier_fields("compress", every)
    return call("compress", every, _progress_or_bar(progress))


def estimate(
    model: Path,
    *,
    recipe: Optional[Path] = None,
    method: Optional[str] = None,
    progress: Union[Progress, bool, None] = None,
    **options: Any,
) -> dict[str, Any]:
    """What a compression would take: memory of the host and of a device by stage, disk, work, time.

    Args:
        model: folder of a checkpoint with or without weights, its config.json alone, or a hub id.
        recipe, method, **options: as for compress(); ``swage.options("estimate")`` lists them.

    Returns:
        {"parameters", "layers", "plan", "rates", "warnings", ...}

    Raises:
        swage.Error: for a plan that does not fit ``max_memory``, and as compress() does.
    """
    every = dict(options, model=model, recipe=recipe, method=method)
    _take_modifier_fields("estimate", every)
    return call("estimate", every, _progress_or_bar(progress))


def convert(model: Path, output: Path, to: str, **options: Any) -> dict[str, Any]:
    """Writes the same weights in another format, reads them back and compares.

    Args:
        model: folder or hub id of a quantized checkpoint.
        output: folder to make.
        to: "pack-quantized", "gptq", "gptq_v2", "awq" or "dense".
        **options: ``dtype``, ``allow_rounding``, ``max_shard_size``, ``overwrite``.

    Returns:
        {"from", "to", "modules", "source_bytes", "output_bytes", "warnings", ...}

    Raises:
        swage.Error: where the target's format cannot hold the weights exactly.
    """
    return call("convert", dict(options, model=model, output=output, to=to))


def evaluate(model: Path, data: Path, *, progress: Union[Progress, bool, None] = None, **options: Any) -> dict[str, Any]:
    """Perplexity of a model on a text, and with ``baseline`` how its predictions differ from another model's.

    Args:
        model: folder of a checkpoint, or a hub id.
        data: a file (JSONL, plain text, Parquet), "builtin", or a data set by name.
        **options: ``window`` (512 tokens), ``max_windows``, ``baseline``, ``text_column``, ``threads``, ...

    Returns:
        {"perplexity", "nll", "tokens", "windows", "seconds", ...}; with a baseline also {"kl_mean", "same_top1", ...}

    Raises:
        swage.Error
    """
    return call("evaluate", dict(options, model=model, data=data), _progress_or_bar(progress))


def generate(
    model: Path, prompts: Union[str, list[str]], *, on_text: Optional[OnText] = None, **options: Any
) -> dict[str, Any]:
    """Answers prompts with swage's own engine, all side by side.

    Args:
        model: folder of a dense or compressed checkpoint, or a hub id.
        prompts: one or several texts.
        on_text: called as ``on_text(prompt_index, choice_index, text)`` with each piece as it comes.
        **options: ``max_new_tokens``, ``temperature``, ``top_p``, ``seed``, ``stop``, ``n``, ``system``, ``chat``, ...

    Returns:
        {"tokens", "tokens_per_second", "results": [{"prompt_tokens", "choices": [{"text", "tokens", ...}]}], ...}; of a
        single prompt also "text".

    Raises:
        swage.Error
    """
    listed = [prompts] if isinstance(prompts, str) else list(prompts)
    return call("generate", dict(options, model=model, prompts=listed), None, on_text)


def push(folder: Path, repo: str, **options: Any) -> dict[str, Any]:
    """Uploads a folder to the hub in one commit; the token is that of HF_TOKEN or of the hub's own login.

    Returns:
        {"url", "commit", "files", "bytes", "uploaded_bytes", ...}

    Raises:
        swage.Error
    """
    return call("push", dict(options, folder=folder, repo=repo))


def inspect(model: Path) -> dict[str, Any]:
    """Modules of a checkpoint with scheme, size and bits per weight, totals and summaries. Needs no libtorch.

    Raises:
        swage.Error: if the folder holds no checkpoint.
    """
    return call("inspect", {"model": model})


def schemes() -> dict[str, Any]:
    """The presets, what is known of their readers and of what they lose. Needs no libtorch."""
    return call("schemes", {})


def scheme_for(reader: str, preset: str = "", actorder: str = "") -> str:
    """The scheme for who will read the output ("vllm", "vllm:hopper", "transformers").

    Raises:
        swage.Error: for an unknown reader, and for a preset that the reader does not take, naming one that it does.
    """
    return call("scheme_for", {"reader": reader, "preset": preset, "actorder": actorder})


def about() -> dict[str, Any]:
    """What this build is: {"build_id", "compiler", "libtorch", "isa", "threads"}."""
    return call("about", {})


def options(function: str) -> list[dict[str, Any]]:
    """Options of a function: [{"name", "default", "help"}].

    Raises:
        swage.Error: for a name that is no function.
    """
    if function not in _swage.functions():
        raise InvalidArgumentError(f'no function "{function}"; known are {", ".join(_swage.functions())}')
    return _swage.fields_of(function)
