"""oneshot(): LLM Compressor's way to compress a model, on swage."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence, Union

from . import _swage
from ._api import _progress_or_bar, nearest
from ._data import Data, DataRequest, prepare
from ._errors import InvalidArgumentError, UnsupportedError
from ._library import Progress, call
from ._model import Model, WorkFolder, adopt, checkpoint_of
from ._recipe import RecipeInput, recipe_file

_PIPELINES = ("independent", "sequential", "basic", "datafree", None)
_KEYWORDS = ("preprocessing_func", "use_loss_mask", "propagate_error", "sequential_targets_per_subgraph", "progress")

_logger = logging.getLogger("swage")


def oneshot(
    model: Any,
    config_name: Optional[str] = None,
    tokenizer: Any = None,
    processor: Any = None,
    precision: str = "auto",
    tie_word_embeddings: bool = True,
    trust_remote_code_model: bool = False,
    save_compressed: bool = True,
    model_revision: str = "main",
    recipe: Optional[RecipeInput] = None,
    recipe_args: Optional[Sequence[str]] = None,
    clear_sparse_session: bool = False,
    stage: Optional[str] = None,
    dataset: Any = None,
    dataset_config_name: Optional[str] = None,
    dataset_path: Optional[str] = None,
    splits: Union[str, Sequence[str], Mapping[str, str], None] = None,
    batch_size: int = 1,
    data_collator: Union[str, Callable[..., Any]] = "truncation",
    num_calibration_samples: int = 512,
    shuffle_calibration_samples: bool = True,
    max_seq_length: Optional[int] = None,
    pad_to_max_length: bool = False,
    text_column: str = "text",
    concatenate_data: bool = False,
    streaming: bool = False,
    overwrite_cache: bool = False,
    preprocessing_num_workers: Optional[int] = None,
    dataloader_num_workers: int = 0,
    min_tokens_per_module: Optional[float] = None,
    moe_calibrate_all_experts: bool = True,
    pipeline: Optional[str] = "independent",
    tracing_ignore: Optional[Sequence[str]] = None,
    sequential_targets: Optional[Sequence[str]] = None,
    sequential_offload_device: str = "cpu",
    quantization_aware_calibration: bool = True,
    sequential_prefetch: bool = False,
    output_dir: Optional[str] = None,
    log_dir: Optional[str] = None,
    **more: Any,
) -> Any:
    """Compresses a model by a recipe, with the arguments of LLM Compressor's oneshot.

    Args:
        model: folder, hub id, or a model of transformers. Of an object the checkpoint that it was loaded from is read;
            one that was changed since is written to a temporary folder first, with a warning.
        tokenizer, processor: needed where the dataset holds token ids; else the checkpoint's own is read.
        recipe: a modifier or a list of them (swage.modifiers), a YAML or JSON file, its text, or the name of a shipped
            recipe.
        dataset: a name ("open_platypus", "org/name"), a file, or an object: anything that yields dicts with text,
            messages or input_ids, texts, or token ids ([rows, tokens], a DataLoader's batches too).
        num_calibration_samples: rows at most.
        max_seq_length: tokens of a row; None: the longest row of token ids, at most 2048. Documents are laid end to end
            and cut into rows of this length.
        shuffle_calibration_samples: documents in an order drawn from the seed.
        moe_calibrate_all_experts: False: experts see the tokens routed to them only.
        pipeline: one of LLM Compressor's names. Here all mean the same: layer by layer, in one pass; "datafree" leaves
            the dataset out.
        output_dir: folder to make; without it, model.save_pretrained(folder) writes the output.
        **more: preprocessing_func (called with each row), use_loss_mask (refused if true), progress, and options of
            swage.compress() as seed, device, threads, max_memory, overwrite.

    Returns:
        The object that came in, whose save_pretrained() now writes the compressed checkpoint and whose first forward
        pass runs on the dequantized weights; for a name a swage.Model.

    Raises:
        swage.Error: with kind and hint. An unknown argument names the nearest one.
    """
    said = dict(locals())
    del said["more"]
    _check(said, more)
    work = WorkFolder()
    folder = work.path
    source = checkpoint_of(model, processor or tokenizer, folder / "model", model_revision)
    data = None
    if pipeline != "datafree":
        data = prepare(
            DataRequest(
                dataset, dataset_config_name, dataset_path, splits, text_column, more.get("preprocessing_func"),
                lambda: _tokenizer(processor or tokenizer, source),
            ),
            folder,
        )  # fmt: skip
    output = Path(output_dir) if output_dir is not None else folder / "output"
    options = {
        "model": source,
        "output": output,
        "recipe": recipe_file(recipe, folder) if recipe is not None else None,
        **_rows(data, num_calibration_samples, max_seq_length, shuffle_calibration_samples),
        "moe_routed": True if not moe_calibrate_all_experts else None,
        **{name: value for name, value in more.items() if name not in _KEYWORDS},
    }
    progress: Union[Progress, bool, None] = more.get("progress")
    with _log_file(log_dir):
        call("compress", options, _progress_or_bar(progress))
    if isinstance(model, (str, Path, Model)):
        return Model(output, work)
    adopt(model, output, work)
    return model


def _check(said: dict[str, Any], more: dict[str, Any]) -> None:
    """Refuses what would not be done, by name."""
    if said["recipe"] is None:
        raise InvalidArgumentError("a recipe is missing; give recipe=")
    if said["pipeline"] not in _PIPELINES:
        raise InvalidArgumentError(f'pipeline "{said["pipeline"]}"; known are independent, sequential, basic, datafree')
    refused = {
        "stage": said["stage"] is not None,
        "recipe_args": bool(said["recipe_args"]),
        "use_loss_mask": bool(more.get("use_loss_mask")),
        "tie_word_embeddings=False": not said["tie_word_embeddings"],
        "save_compressed=False": not said["save_compressed"],
        "precision": said["precision"] not in ("auto", "bfloat16", "float16", "float32", None),
    }
    for name, is_refused in refused.items():
        if is_refused:
            raise UnsupportedError(f"oneshot: {name} is not supported")
    known = {field["name"] for field in _swage.fields_of("compress")}
    for name in more:
        if name not in known and name not in _KEYWORDS:
            near = nearest(name, [*known, *_KEYWORDS, *said])
            raise InvalidArgumentError(f'oneshot: unknown argument "{name}"' + (f'; did you mean "{near}"?' if near else ""))
    callable_collator = callable(said["data_collator"])
    if callable_collator:
        _logger.info("oneshot: data_collator is not called: rows have one length and no padding")


def _rows(data: Optional[Data], samples: int, length: Optional[int], shuffle: bool) -> dict[str, Any]:
    if data is None:
        return {}
    longest = min(data.longest_row, 2048) if data.longest_row else None
    return {
        "data": data.name,
        "text_column": data.text_column,
        "num_calibration_samples": samples,
        "max_seq_length": length if length is not None else longest,
        "shuffle": shuffle,
    }


def _tokenizer(given: Any, source: str) -> Any:
    if given is not None and not isinstance(given, str):
        return given
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(given or source)


class _log_file:
    """Messages also go to a file in the folder, if there is one."""

    def __init__(self, folder: Optional[str]) -> None:
        self.handler: Optional[logging.Handler] = None
        if folder is not None:
            from datetime import datetime

            Path(folder).mkdir(parents=True, exist_ok=True)
            self.handler = logging.FileHandler(Path(folder) / f"oneshot_{datetime.now():%Y-%m-%d_%H-%M-%S}.log")

    def __enter__(self) -> None:
        if self.handler is not None:
            _logger.addHandler(self.handler)

    def __exit__(self, *_: object) -> None:
        if self.handler is not None:
            _logger.removeHandler(self.handler)
            self.handler.close()
