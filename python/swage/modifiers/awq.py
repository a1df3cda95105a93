"""Where LLM Compressor had AWQ before: here the modifier also rounds what it rescaled."""

from swage.modifiers import AWQMapping
from swage.modifiers import _old_awq as AWQModifier

__all__ = [
    "AWQMapping",
    "AWQModifier",
]
