"""Where LLM Compressor has it."""

from swage.modifiers import AWQMapping, AWQModifier, QuIPModifier, SmoothQuantModifier, SpinQuantModifier

__all__ = [
    "AWQMapping",
    "AWQModifier",
    "QuIPModifier",
    "SmoothQuantModifier",
    "SpinQuantModifier",
]
