"""Two shapes to the shapes between them, by a model that knows such shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class ShapeInterpolate(Recipe):
    """Two shapes, given or out of a model, to the steps between them: a morph."""

    label: ClassVar[str] = "Interpolate"
    input: ClassVar[str] = "ends"
    model_kind: ClassVar[str] = "deepsdf"
    output: ClassVar[str] = "morph"
    example: ClassVar[str] = "maquette shape interpolate chair.glb sofa.glb -o between.glb --steps 5"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"draft": {"resolution": 64}, "best": {"resolution": 192}}

    model: str = param("furniture-food", "A model file that Train on Shapes has made, or the name of one that ships")
    start: str = param("", "Name of the model's shape to start at; empty for an object")
    end: str = param("", "Name of the model's shape to end at; empty for an object")
    steps: int = param(5, "Meshes, both ends among them", min=2, max=200)
    size: float = param(1.0, "Diameter of the sphere around shapes where none is an object with a size of its own",
                        unit="m", min=1e-6, max=1e6)
    resolution: int = param(96, "Cells along the longest side", min=16, max=512, group="Mesh")

    def objects(self) -> int:
        """How many of the ends are given as objects."""
        return (not self.start) + (not self.end)

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        cells = self.resolution**2 * 12
        return Estimate(memory_mb=int(700 + self.steps * cells * 60 / 2**20 + cells * 300 / 2**20),
                        seconds=5 + 30 * self.objects() + self.steps * cells / 5e4)
