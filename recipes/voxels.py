"""A voxel grid or an octree, or a mesh made into one, to a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class Voxels(Recipe):
    """A grid of occupancies or signed distances, an octree, or a mesh made into one, to a mesh."""

    label: ClassVar[str] = "Voxels"
    input: ClassVar[str] = "volume"
    output: ClassVar[str] = "volume"
    example: ClassVar[str] = "maquette voxels chair.binvox -o chair.obj --method cubify"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"draft": {"resolution": 32}, "best": {"resolution": 128}}

    method: Literal["marching-cubes", "cubify"] = param(
        "marching-cubes", "A smooth surface through the grid's values, or one cube a filled voxel")
    threshold: float = param(0.5, "Occupancy from which a voxel is filled; a signed distance is cut at zero instead",
                             min=0.0, max=1.0)
    resolution: int = param(64, "Voxels along the longest side where a mesh is made into a grid", min=2, max=1024)

    budget: int = param(0, "Face budget of the mesh in triangles, 0 for as many as the resolution gives; quads "
                        "keep it by a lower resolution", min=0, max=100_000_000, group="Mesh")
    quads: bool = param(False, "Make quads where they fit instead of triangles", group="Mesh")

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        # An octree has cells near the surface alone, as many as a few times the square of its resolution; a dense
        # grid is there in whole besides.
        voxels = summary.get("voxels", 0)
        side = max(summary.get("shape") or [self.resolution])
        cells = summary.get("cells", 12 * side**2)
        # The octree and its surface take most; contouring or decimating them several times as much.
        memory = 450 + (voxels * 5 + cells * (200 if self.quads or self.budget else 50)) / 2**20
        return Estimate(memory_mb=int(memory), seconds=3 + cells / 2e5 + voxels / 2e7)
