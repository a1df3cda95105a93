"""Where LLM Compressor has it."""

from swage.modifiers import GPTQModifier

__all__ = [
    "GPTQModifier",
]
