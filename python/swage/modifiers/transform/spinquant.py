"""Where LLM Compressor has it."""

from swage.modifiers import SpinQuantModifier

__all__ = [
    "SpinQuantModifier",
]
