"""A shape that does not exist yet, by a model that knows such shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class ShapeRandom(Recipe):
    """A new shape out of a model of such shapes; the seed decides which."""

    label: ClassVar[str] = "Random Shape"
    input: ClassVar[str] = "none"
    model_kind: ClassVar[str] = "deepsdf"
    example: ClassVar[str] = "maquette shape random -o new.glb --seed 7"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"draft": {"resolution": 64}, "best": {"resolution": 256}}

    model: str = param("furniture-food", "A model file that Train on Shapes has made, or the name of one that ships")
    like: str = param("", "Name of the model's shape that the new one resembles; empty for any")
    mixed: int = param(3, "How many shapes that are alike it is made of; 1 changes one alone", min=1, max=16)
    variety: float = param(20.0, "How far it may leave what lies between them", unit="%", min=0.0, max=100.0)
    size: float = param(1.0, "Diameter of the sphere around it", unit="m", min=1e-6, max=1e6)
    resolution: int = param(128, "Cells along the longest side", min=16, max=1024, group="Mesh")
    budget: int = param(0, "Face budget of the mesh, 0 for as many as the resolution gives", min=0, max=100_000_000,
                        group="Mesh")
    quads: bool = param(False, "Make quads where they fit instead of triangles", group="Mesh")

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        cells = self.resolution**2 * 12
        return Estimate(memory_mb=int(700 + cells * 300 / 2**20), seconds=5 + cells / 5e4)
