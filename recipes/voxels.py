"""A voxel grid, or a mesh made into one, to a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class Voxels(Recipe):
    """A grid of occupancies, probabilities or signed distances, or a mesh made into one, to a mesh."""

    label: ClassVar[str] = "Voxels"
    input: ClassVar[str] = "volume"
    example: ClassVar[str] = "maquette voxels chair.binvox -o chair.obj --method cubify"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"draft": {"resolution": 32}, "best": {"resolution": 128}}

    method: Literal["marching-cubes", "cubify"] = param(
        "marching-cubes", "A smooth surface through the grid's values, or one cube a filled voxel")
    threshold: float = param(0.5, "Occupancy from which a voxel is filled; a signed distance is cut at zero instead",
                             min=0.0, max=1.0)
    resolution: int = param(64, "Voxels along the longest side where a mesh is made into a grid", min=2, max=1024)

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        voxels = summary.get("voxels") or self.resolution**3
        return Estimate(memory_mb=int(300 + voxels * 40 / 2**20), seconds=2 + voxels / 2e6)
