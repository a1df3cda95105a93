"""Where LLM Compressor has it."""

from swage.modifiers import WandaPruningModifier

__all__ = [
    "WandaPruningModifier",
]
