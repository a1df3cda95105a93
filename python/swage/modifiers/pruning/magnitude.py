"""Where LLM Compressor has it."""

from swage.modifiers import MagnitudePruningModifier

__all__ = [
    "MagnitudePruningModifier",
]
