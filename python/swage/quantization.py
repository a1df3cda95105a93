"""Schemes spelled out, with the names and defaults of compressed-tensors. Its own objects are taken alike."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Optional, Union

from . import _swage
from ._errors import InvalidArgumentError


class QuantizationType(str, enum.Enum):
    """Kind of numbers."""

    INT = "int"
    FLOAT = "float"


class QuantizationStrategy(str, enum.Enum):
    """What shares a scale."""

    TENSOR = "tensor"
    CHANNEL = "channel"
    GROUP = "group"
    BLOCK = "block"
    TOKEN = "token"
    TENSOR_GROUP = "tensor_group"
    ATTN_HEAD = "attn_head"


class DynamicType(str, enum.Enum):
    """Of scales that are partly found at run time."""

    LOCAL = "local"


class ActivationOrdering(str, enum.Enum):
    """Order in which GPTQ solves columns."""

    GROUP = "group"
    WEIGHT = "weight"
    DYNAMIC = "group"
    STATIC = "weight"


@dataclasses.dataclass
class QuantizationArgs:
    """How numbers are quantized: bits, kind, what shares a scale."""

    num_bits: int = 8
    type: Union[QuantizationType, str] = QuantizationType.INT
    symmetric: bool = True
    group_size: Optional[int] = None
    strategy: Union[QuantizationStrategy, str, None] = None
    block_structure: Optional[list[int]] = None
    dynamic: Union[DynamicType, bool, str] = False
    actorder: Union[ActivationOrdering, str, bool, None] = None
    scale_dtype: Any = None
    zp_dtype: Any = None
    observer: Optional[str] = None
    observer_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.strategy is None:  # as compressed-tensors infers it
            by_group = "group" if self.group_size is not None and self.group_size > 0 else "channel" if self.group_size == -1 else "tensor"
            self.strategy = "token" if self.dynamic and self.group_size is None else by_group

    def to_json(self) -> dict[str, Any]:
        """The members that are said."""
        from .modifiers._base import plain

        return {k: plain(v) for k, v in vars(self).items() if v is not None and v != {}}


@dataclasses.dataclass
class QuantizationScheme:
    """Which modules are quantized how. `preset` in place of arguments: what preset_name_to_scheme() gives."""

    targets: list[str]
    weights: Optional[QuantizationArgs] = None
    input_activations: Optional[QuantizationArgs] = None
    output_activations: Optional[QuantizationArgs] = None
    format: Optional[str] = None
    preset: Optional[str] = None

    def to_json(self) -> dict[str, Any]:
        """As config_groups has it."""
        from .modifiers._base import plain

        if self.preset is not None:
            raise InvalidArgumentError(f"scheme {self.preset} by its name cannot stand in config_groups; use scheme={{\"{self.preset}\": targets}}")
        return {k: plain(v) for k, v in vars(self).items() if v is not None and k != "preset"}


def preset_names() -> list[str]:
    """Names that `scheme` of a modifier may have."""
    return _swage.preset_names()


def is_preset_scheme(name: str) -> bool:
    """Whether `scheme` of a modifier may have this name."""
    return name.upper() in preset_names()


def preset_name_to_scheme(name: str, targets: list[str]) -> QuantizationScheme:
    """A preset for some modules.

    Raises:
        swage.Error: for a name that is no preset.
    """
    if not is_preset_scheme(name):
        raise InvalidArgumentError(f'no preset "{name}"; known are {", ".join(preset_names())}')
    return QuantizationScheme(targets=list(targets), preset=name.upper())
