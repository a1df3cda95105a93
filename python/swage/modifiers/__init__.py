"""What a recipe may say, as classes with the names and fields of LLM Compressor's modifiers."""

from __future__ import annotations

from typing import Any

from .._errors import UnsupportedError
from ._base import AWQMapping, Modifier, make_classes

_CLASSES = make_classes()

GPTQModifier: type[Modifier] = _CLASSES["GPTQModifier"]
QuantizationModifier: type[Modifier] = _CLASSES["QuantizationModifier"]
SparseGPTModifier: type[Modifier] = _CLASSES["SparseGPTModifier"]
WandaPruningModifier: type[Modifier] = _CLASSES["WandaPruningModifier"]
MagnitudePruningModifier: type[Modifier] = _CLASSES["MagnitudePruningModifier"]
ConstantPruningModifier: type[Modifier] = _CLASSES["ConstantPruningModifier"]
REAPPruningModifier: type[Modifier] = _CLASSES["REAPPruningModifier"]
AWQModifier: type[Modifier] = _CLASSES["AWQModifier"]
SmoothQuantModifier: type[Modifier] = _CLASSES["SmoothQuantModifier"]
LogarithmicEqualizationModifier: type[Modifier] = _CLASSES["LogarithmicEqualizationModifier"]
SpinQuantModifier: type[Modifier] = _CLASSES["SpinQuantModifier"]
QuIPModifier: type[Modifier] = _CLASSES["QuIPModifier"]


class AutoRoundModifier(Modifier):
    """Of LLM Compressor: swage does not have it and says so."""

    recipe_name = "AutoRoundModifier"

    def _check(self) -> None:
        raise UnsupportedError("AutoRoundModifier: swage has no AutoRound; use GPTQModifier(quality=\"best\")")


def _old_awq(**fields: Any) -> list[Modifier]:
    """AWQModifier of swage.modifiers.awq, where it still rounds what it rescaled: the two modifiers that this is now."""
    of_awq = {k: v for k, v in fields.items() if k not in QuantizationModifier.defaults or k == "mappings"}
    of_rounding = {k: v for k, v in fields.items() if k not in of_awq}
    return [AWQModifier(**of_awq), QuantizationModifier(**of_rounding)]


__all__ = [
    "AWQMapping",
    "AWQModifier",
    "AutoRoundModifier",
    "ConstantPruningModifier",
    "GPTQModifier",
    "LogarithmicEqualizationModifier",
    "MagnitudePruningModifier",
    "Modifier",
    "QuIPModifier",
    "QuantizationModifier",
    "REAPPruningModifier",
    "SmoothQuantModifier",
    "SparseGPTModifier",
    "SpinQuantModifier",
    "WandaPruningModifier",
]
