"""Where LLM Compressor has it."""

from swage.modifiers import SmoothQuantModifier

__all__ = [
    "SmoothQuantModifier",
]
