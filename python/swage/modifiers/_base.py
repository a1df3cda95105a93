"""Modifiers as classes, made of the table that the recipe reader is made of: one class each, its fields by name, checked
where they are said and not when the run begins."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, ClassVar, Mapping, Optional, Union

from .. import _swage

# Fields of LLM Compressor's modifiers that say how it runs there, not what comes out: swage reads and passes over them.
ONLY_HOW_IT_RUNS = frozenset(
    "batched_quantization calibration_function end group index num_calibration_steps offload_device offload_hessians "
    "requires_calibration_data scheduler_args sequential_targets sequential_update start update".split()
)


def plain(value: Any) -> Any:
    """A field's value as JSON has it: dataclasses, pydantic models and enumerators of other packages too."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "to_json"):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {k: plain(v) for k, v in vars(value).items() if v is not None}
    if hasattr(value, "model_dump"):  # of compressed-tensors
        return {k: plain(v) for k, v in value.model_dump().items() if v is not None}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)  # torch.float16 and the like


def _by_preset(fields: dict[str, Any]) -> dict[str, Any]:
    """config_groups whose schemes are all presets as `scheme={preset: targets}`, which is how a recipe says it."""
    groups = fields.get("config_groups")
    if not isinstance(groups, Mapping) or not groups or any(getattr(g, "preset", None) is None for g in groups.values()):
        return fields
    targets: dict[str, list[str]] = {}
    for group in groups.values():
        targets.setdefault(group.preset, []).extend(group.targets)
    return {**{k: v for k, v in fields.items() if k != "config_groups"}, "scheme": targets}


class Modifier:
    """One step of a recipe. Fields by keyword alone; one that there is none of raises swage.InvalidArgumentError with
    the nearest name."""

    recipe_name: ClassVar[str] = ""
    defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, **fields: Any) -> None:
        self.given: dict[str, Any] = {name: plain(value) for name, value in _by_preset(fields).items()}
        self._check()

    def _check(self) -> None:
        fields = {}
        for name, value in self.given.items():
            if name in ONLY_HOW_IT_RUNS or name.endswith("_") or value is None:
                continue
            if name == "scheme" and isinstance(value, dict):
                continue  # {preset: targets}, which the recipe spells out
            fields[name] = value
        _swage.check_modifier(self.recipe_name, fields)

    def to_recipe(self) -> dict[str, Any]:
        """{"GPTQModifier": fields}, as a recipe has it."""
        return {self.recipe_name: dict(self.given)}

    def __getattr__(self, name: str) -> Any:
        given = self.__dict__.get("given", {})
        if name in given:
            return given[name]
        if name in type(self).defaults:
            return type(self).defaults[name]
        raise AttributeError(f"{type(self).__name__} has no field '{name}'")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Modifier) and self.given == other.given

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.given.items())})"


def _documentation(name: str, fields: list[dict[str, Any]]) -> str:
    lines = [f"{name} of a recipe.", "", "Args:"]
    lines += [f"    {field['name']}: {field['help']} [{field['default']!r}]" for field in fields]
    return "\n".join(lines)


def make_classes() -> dict[str, type[Modifier]]:
    """A class for each modifier that a recipe may name."""
    classes = {}
    for name, told in _swage.modifiers().items():
        members = {
            "recipe_name": name,
            "defaults": {field["name"]: field["default"] for field in told["fields"]},
            "__doc__": _documentation(name, told["fields"]),
            "__module__": "swage.modifiers",
        }
        classes[name] = type(name, (Modifier,), members)
    return classes


@dataclasses.dataclass
class AWQMapping:
    """Layers between which AWQ moves scales: `smooth_layer` makes what the `balance_layers` read."""

    smooth_layer: str
    balance_layers: list[str]
    activation_hook_target: Optional[str] = None


Recipe = Union[Modifier, "list[Modifier]"]
