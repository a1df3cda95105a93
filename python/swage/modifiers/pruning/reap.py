"""Where LLM Compressor has it."""

from swage.modifiers import REAPPruningModifier

__all__ = [
    "REAPPruningModifier",
]
