"""Where LLM Compressor has it."""

from swage.modifiers import AutoRoundModifier

__all__ = [
    "AutoRoundModifier",
]
