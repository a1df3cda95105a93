"""Where LLM Compressor has it."""

from swage.modifiers import QuIPModifier

__all__ = [
    "QuIPModifier",
]
