"""Where LLM Compressor has it."""

from swage.modifiers import LogarithmicEqualizationModifier

__all__ = [
    "LogarithmicEqualizationModifier",
]
