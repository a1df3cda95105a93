"""Where LLM Compressor has it."""

from swage.modifiers import ConstantPruningModifier

__all__ = [
    "ConstantPruningModifier",
]
