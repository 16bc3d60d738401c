"""A broken object or a partial scan to the whole, by a model that knows such shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class ShapeComplete(Recipe):
    """A partial scan or a broken object to the whole that a model of such shapes takes it for, at its place."""

    label: ClassVar[str] = "Complete"
    input: ClassVar[str] = "solids"
    model_kind: ClassVar[str] = "deepsdf"
    example: ClassVar[str] = "maquette shape complete scan.ply -o whole.glb --model furniture-food"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"draft": {"resolution": 64}, "best": {"resolution": 256}}

    model: str = param("furniture-food", "A model file that Train on Shapes has made, or the name of one that ships")
    missing: Literal["search", "nothing", "left", "right", "front", "back", "below", "above"] = param(
        "search", "Where the rest would be, about as much as was seen: left is -X, front is -Y. Nothing where the scan "
                  "spans the whole, which then stands unturned in its bounding box")
    seen: bool = param(True, "Keep what was seen as it is, and only add to it")
    resolution: int = param(128, "Cells along the longest side", min=16, max=1024, group="Mesh")
    budget: int = param(0, "Face budget of the mesh, 0 for as many as the resolution gives", min=0, max=100_000_000,
                        group="Mesh")
    quads: bool = param(False, "Make quads where they fit instead of triangles", group="Mesh")

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        cells = self.resolution**2 * 12
        return Estimate(memory_mb=int(700 + cells * 300 / 2**20), seconds=30 + cells / 5e4)
