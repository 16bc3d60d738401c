"""How good a result is."""

from .evaluate import evaluate, table

__all__ = ["evaluate", "table"]
