"""Where LLM Compressor has it."""

from swage.modifiers import SparseGPTModifier

__all__ = [
    "SparseGPTModifier",
]
