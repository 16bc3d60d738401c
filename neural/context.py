"""What a task sees of its job: the recipe, the input and output folders, and how to say how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..recipes import Recipe

if TYPE_CHECKING:
    import torch


class Context(Protocol):
    """Implemented by the worker; a test may pass a plain one that records what it is told."""

    recipe: Recipe
    seed: int
    device: torch.device
    input: Path  # folder
    output: Path  # folder
    checkpoint: Path  # folder; jobs that share an input share what is in its `jobs.folder.OF_INPUT`
    blender: str  # the program that the job names where a Blender is wanted; empty for whichever is found
    report: dict[str, Any]  # the task adds its figures (design: the report); the worker adds the rest

    def stage(self, name: str, upto: float) -> None:
        """Begin a stage that ends when the fraction `upto` of the whole job is done."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Say which fraction of the stage is done. Raises Cancelled when the user has asked to stop.

        Cheap enough to be called every step; call it at least every half second.
        """

    def preview(self, rgb: np.ndarray) -> None:
        """Show a picture, (H, W, 3) uint8 sRGB. At most one a second is written."""

    def warn(self, text: str) -> None:
        """Add a line to the report's warnings."""
