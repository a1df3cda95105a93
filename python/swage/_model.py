"""Models: where their checkpoints lie, and what a compressed one can do afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
import types
import warnings
import weakref
from pathlib import Path
from typing import Any, Optional

from ._api import convert, generate
from ._errors import Error, InvalidArgumentError
from ._library import log


def copy_folder(source: Path, target: Path) -> None:
    """Puts the files of a checkpoint into a folder: as hard links where that can be, else as copies."""
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.rglob("*")):
        if not file.is_file():
            continue
        to = target / file.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.unlink(missing_ok=True)
        try:
            os.link(file, to)
        except OSError:
            shutil.copyfile(file, to)


class WorkFolder:
    """A temporary folder that goes with the last reference to this, or with the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="swage-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class Model:
    """What oneshot() gives for a model named by a folder or a hub id."""

    def __init__(self, folder: Path, lifetime: Any = None) -> None:
        self.name_or_path = str(folder)
        self._lifetime = lifetime

    @property
    def config(self) -> Any:
        """transformers' config of the output; needs transformers."""
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.name_or_path)

    def save_pretrained(self, save_directory: Any, save_compressed: bool = True, **_: Any) -> None:
        """Writes the compressed checkpoint into a folder."""
        if not save_compressed:
            convert(self.name_or_path, save_directory, "dense")
            return
        copy_folder(Path(self.name_or_path), Path(save_directory))

    def generate(self, prompts: Any, **options: Any) -> dict[str, Any]:
        """Answers prompts with swage's engine; see swage.generate()."""
        return generate(self.name_or_path, prompts, **options)

    def to_transformers(self, **options: Any) -> Any:
        """The same as a model of transformers, which reads compressed checkpoints with compressed-tensors."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(self.name_or_path, **options)


def checkpoint_of(model: Any, tokenizer: Any, folder: Path, revision: str = "main") -> str:
    """A folder or hub id with the weights of what oneshot() was given as model. An object of transformers that is no
    longer what its checkpoint holds, or has none, is written into the folder, with a warning."""
    if isinstance(model, (str, os.PathLike)):
        if revision not in ("main", "", None) and not Path(model).exists():
            raise InvalidArgumentError(f"model_revision {revision}: give a folder with that revision, swage reads main")
        return os.fspath(model)
    if isinstance(model, Model):
        return model.name_or_path
    if not hasattr(model, "save_pretrained"):
        raise InvalidArgumentError(f"a model of type {type(model).__name__}: expected a folder, a hub id, or a model of transformers")
    name = getattr(model, "name_or_path", "") or getattr(getattr(model, "config", None), "_name_or_path", "")
    local = local_checkpoint(str(name)) if name else None
    why = "has no checkpoint of its own" if local is None else difference_to(model, local)
    if local is not None and not why:
        return str(local)
    warnings.warn(f"the model {why}: it is written to {folder} first", stacklevel=3)
    getattr(type(model), "save_pretrained")(model, folder)
    if tokenizer is not None and hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(folder)
    return str(folder)


def local_checkpoint(name: str) -> Optional[Path]:
    """The folder of a checkpoint by its name: itself, or a snapshot in the hub's cache; None if there is none."""
    place = Path(name)
    if place.is_dir() and any(place.glob("*.safetensors")):
        return place
    if place.exists() or name.count("/") != 1:
        return None
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, local_files_only=True))
    except Exception as error:  # noqa: BLE001 - of any kind: it is not in the cache
        log("info", f"{name} is not in the hub's cache: {error}")
        return None


def difference_to(model: Any, folder: Path) -> str:
    """How an object differs from its checkpoint, in words; empty if every tensor of both names is equal. Tensors that
    transformers keeps under other names than the file are not compared."""
    import torch
    from safetensors import safe_open

    own = dict(model.state_dict())
    compared = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as tensors:
            for name in tensors.keys():
                mine = own.get(name)
                if mine is None:
                    continue
                if mine.is_meta:
                    continue
                compared += 1
                stored = tensors.get_tensor(name)
                if tuple(stored.shape) != tuple(mine.shape) or not torch.equal(stored.to(mine.dtype), mine.cpu()):
                    return f"is no longer what {folder} holds ({name} differs)"
    return "" if compared else f"has no tensor by a name that {folder} has"


def adopt(model: Any, output: Path, lifetime: Any) -> None:
    """Lets an object of transformers stand for the output: save_pretrained() writes it, and the first forward pass (or
    generate()) puts the dequantized weights into the object."""
    model.swage_output = str(output)
    model._swage_lifetime = lifetime
    dense_save, dense_forward = type(model).save_pretrained, model.forward

    def save_pretrained(self: Any, save_directory: Any, save_compressed: bool = True, **options: Any) -> None:
        if save_compressed:
            copy_folder(output, Path(save_directory))
        else:
            put_weights_back(self)
            dense_save(self, save_directory, **options)

    def forward(*args: Any, **kwargs: Any) -> Any:
        model.forward = dense_forward
        put_weights_back(model)
        return dense_forward(*args, **kwargs)

    model.save_pretrained = types.MethodType(save_pretrained, model)
    model.forward = forward


def put_weights_back(model: Any) -> None:
    """Puts the weights of the output, dequantized, into the object that was compressed. Once; does nothing for another
    object."""
    output = getattr(model, "swage_output", None)
    if output is None or getattr(model, "_swage_put_back", False):
        return
    model._swage_put_back = True
    import torch
    from safetensors import safe_open

    with tempfile.TemporaryDirectory(prefix="swage-") as folder:
        dense = Path(folder) / "dense"
        try:
            convert(output, dense, "dense")
        except Error as error:
            warnings.warn(f"the model in memory stays as it was, not compressed: {error}", stacklevel=3)
            return
        own = dict(model.state_dict())
        with torch.no_grad():
            for file in sorted(dense.glob("*.safetensors")):
                with safe_open(str(file), framework="pt") as tensors:
                    for name in tensors.keys():
                        if name in own and own[name].shape == tuple(tensors.get_slice(name).get_shape()):
                            own[name].copy_(tensors.get_tensor(name))
