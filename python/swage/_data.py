"""Calibration data as scripts give it - names, files, datasets, loaders, texts, token ids - as the text that swage reads."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional

from ._errors import InvalidArgumentError, UnsupportedError

_TEXT_COLUMNS = (
    "text", "messages", "conversations", "prompt", "response", "question", "answer", "instruction", "input", "output",
    "article", "highlights", "content", "completion", "chosen", "tools", "documents",
)  # fmt: skip
_PIXELS = ("pixel_values", "input_features", "audio", "image", "images")


@dataclass
class DataRequest:
    """What oneshot() is told of data."""

    dataset: Any = None
    config_name: Optional[str] = None
    path: Optional[str] = None
    splits: Any = None
    text_column: str = "text"
    preprocessing_func: Optional[Callable[..., Any]] = None
    tokenizer: Callable[[], Any] = field(default=lambda: None)  # loaded where token ids have to become text


@dataclass
class Data:
    """For compress(): a name or file, the column, and the most tokens of a row if the rows are token ids."""

    name: str
    text_column: Optional[str] = None
    longest_row: int = 0


def prepare(request: DataRequest, folder: Path) -> Optional[Data]:
    """Writes what is no name and no file as JSONL into the folder. None without data."""
    dataset = request.dataset
    if dataset is None and request.path is None:
        return None
    if isinstance(dataset, Path) or dataset is None or isinstance(dataset, str):
        return _named(request)
    rows = _chosen_split(dataset, request.splits)
    return _written(request, rows, folder / "dataset.jsonl")


def _split_of(splits: Any) -> str:
    if splits is None:
        return ""
    if isinstance(splits, str):
        return splits
    if isinstance(splits, Mapping):
        splits = list(splits.values())
    if len(splits) != 1:
        raise UnsupportedError(f"splits {splits}: swage calibrates on one; give one")
    return str(splits[0])


def _named(request: DataRequest) -> Data:
    name, column = request.dataset, request.text_column if request.text_column != "text" else None
    if request.path is not None and str(name).lower() in ("none", "custom", "json", "csv"):
        place = Path(request.path)
        if place.is_dir():
            wanted = _split_of(request.splits) or "train"
            files = [f for f in sorted(place.iterdir()) if f.name.startswith(wanted.split("[")[0])]
            place = (files or sorted(place.glob("*.json*")) or [place])[0]
        return Data(str(place), column)
    said = str(name)
    if request.config_name:
        said += f":{request.config_name}"
    split = _split_of(request.splits)
    if split and not Path(said).exists() and said != "builtin":
        said += f":{split}"
    return Data(said, column)


def _chosen_split(dataset: Any, splits: Any) -> Iterable[Any]:
    """Rows of a dataset, of a DatasetDict or another mapping of splits those of one."""
    if isinstance(dataset, Mapping) and not isinstance(dataset, (str, bytes)) and "input_ids" not in dataset:
        wanted = _split_of(splits).split("[")[0] or ("train" if "train" in dataset else "")
        if not wanted and len(dataset) == 1:
            return dataset[next(iter(dataset))]
        if wanted not in dataset:
            raise InvalidArgumentError(f"a dataset of splits {', '.join(map(str, dataset))}: give splits=")
        return dataset[wanted]
    if isinstance(dataset, Mapping):
        dataset = [dataset]
    if not hasattr(dataset, "__iter__") and not hasattr(dataset, "__getitem__"):
        raise InvalidArgumentError(f"a dataset of type {type(dataset).__name__}: expected something that is iterated over")
    return dataset


def _ids_of(value: Any) -> list[Any]:
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _token_rows(value: Any, mask: Any = None) -> Iterator[list[int]]:
    """Rows of token ids out of one row or a batch of them, without padding."""
    ids = _ids_of(value)
    masks = _ids_of(mask) if mask is not None else None
    if ids and isinstance(ids[0], (list, tuple)):
        for place, row in enumerate(ids):
            yield from _token_rows(row, masks[place] if masks is not None else None)
        return
    if masks and isinstance(masks[0], (list, tuple)):
        masks = list(masks[0])
    yield [int(token) for place, token in enumerate(ids) if masks is None or masks[place]]


class _Decoder:
    """Token ids as text that swage's tokenizer makes the same ids of: without the special tokens that it puts around a
    text by itself. Rows that come out otherwise are counted."""

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer is None:
            raise InvalidArgumentError("a dataset of token ids needs the tokenizer that made them; give tokenizer=")
        self.tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # of a processor
        empty, one = self._encode(""), self._encode("a")
        self.prefix = len(empty)
        while self.prefix and empty[: self.prefix] != one[: self.prefix]:
            self.prefix -= 1
        self.around = empty[: self.prefix]
        self.rows = self.differing = 0

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text)["input_ids"])

    def text(self, ids: list[int]) -> str:
        bare = ids[self.prefix :] if self.prefix and ids[: self.prefix] == self.around else ids
        out: str = self.tokenizer.decode(bare, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        self.rows += 1
        self.differing += self._encode(out)[self.prefix :] != bare
        return out


def _written(request: DataRequest, rows: Iterable[Any], file: Path) -> Data:
    decoder: Optional[_Decoder] = None
    longest = count = 0
    with file.open("w") as out:

        def write(row: Any) -> None:
            nonlocal count
            count += 1
            out.write(json.dumps(row, default=str) + "\n")

        for row in rows:
            if request.preprocessing_func is not None:
                row = request.preprocessing_func(row)
            if isinstance(row, str):
                write({"text": row})
                continue
            if isinstance(row, Mapping) and any(name in row for name in _PIXELS):
                raise UnsupportedError("a dataset with images or sound: swage calibrates on text")
            if isinstance(row, Mapping) and "input_ids" not in row:
                write(_text_row(row, request.text_column))
                continue
            if decoder is None:
                decoder = _Decoder(request.tokenizer())
            ids, mask = (row["input_ids"], row.get("attention_mask")) if isinstance(row, Mapping) else (row, None)
            for tokens in _token_rows(ids, mask):
                longest = max(longest, len(tokens))
                write({"text": decoder.text(tokens)})
    if count == 0:
        raise InvalidArgumentError("the dataset holds no rows")
    if decoder is not None and decoder.differing:
        warnings.warn(
            f"{decoder.differing} of {decoder.rows} rows of token ids are given to swage as text that is tokenized a "
            "little differently (rows cut within a word, or special tokens inside)",
            stacklevel=4,
        )
    return Data(str(file), None, longest)


def _text_row(row: Mapping[str, Any], text_column: str) -> dict[str, Any]:
    if text_column in row:
        return {"text": row[text_column]} if isinstance(row[text_column], str) else {"messages": row[text_column]}
    known = {name: row[name] for name in _TEXT_COLUMNS if name in row}
    if not known:
        raise InvalidArgumentError(f"a dataset with the columns {', '.join(map(str, row))}: give text_column=")
    return known
