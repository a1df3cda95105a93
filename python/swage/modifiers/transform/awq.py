"""Where LLM Compressor has it."""

from swage.modifiers import AWQMapping, AWQModifier

__all__ = [
    "AWQMapping",
    "AWQModifier",
]
