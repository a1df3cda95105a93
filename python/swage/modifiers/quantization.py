"""Where LLM Compressor has it."""

from swage.modifiers import GPTQModifier, QuantizationModifier

__all__ = [
    "GPTQModifier",
    "QuantizationModifier",
]
