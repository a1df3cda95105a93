"""Where LLM Compressor has it."""

from swage.modifiers import ConstantPruningModifier, MagnitudePruningModifier, REAPPruningModifier, SparseGPTModifier, WandaPruningModifier

__all__ = [
    "ConstantPruningModifier",
    "MagnitudePruningModifier",
    "REAPPruningModifier",
    "SparseGPTModifier",
    "WandaPruningModifier",
]
