"""Meshes, scans and grids to one watertight mesh through a signed distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class Sdf(Recipe):
    """Meshes, point clouds or grids, one or several combined, to a watertight mesh through a signed distance."""

    label: ClassVar[str] = "Signed Distance"
    action: ClassVar[str] = "Remesh"
    input: ClassVar[str] = "solids"
    example: ClassVar[str] = "maquette sdf scan.ply -o clean.glb --budget 50000"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "draft": {"resolution": 128, "seconds": 20.0},
        "standard": {},
        "best": {"resolution": 512, "seconds": 180.0},
    }

    method: Literal["exact", "neural"] = param(
        "exact", "The distance itself, of meshes with holes and parts that run into each other too, or a small "
                 "network fitted to it, which is smooth")
    resolution: int = param(256, "Cells along the longest side", min=8, max=2048)
    combine: Literal["union", "difference", "intersection"] = param(
        "union", "What becomes of several solids: all of them, the first without the others, what they have in "
                 "common", group="Solids")
    blend: float = param(0.0, "Radius within which combined solids flow into each other", unit="m", min=0.0, max=1e6,
                         group="Solids")
    offset: float = param(0.0, "The surface is moved outward by this much, inward where it is negative", unit="m",
                          min=-1e6, max=1e6, group="Solids")
    shell: float = param(0.0, "Thickness of the wall that the solid is hollowed to, of a sheet that it is made solid "
                         "by; 0 for none", unit="m", min=0.0, max=1e6, group="Solids")
    budget: int = param(0, "Face budget of the mesh in triangles, 0 for as many as the resolution gives; quads "
                        "keep it by a lower resolution", min=0, max=100_000_000,
                        group="Mesh")
    quads: bool = param(False, "Make quads where they fit instead of triangles", group="Mesh")
    sharp: bool = param(False, "Keep sharp edges and corners sharp (dual contouring)", group="Mesh")
    floaters: float = param(0.1, "Pieces with less than this share of the largest piece's area are removed",
                            unit="%", min=0.0, max=100.0, group="Mesh", advanced=True)
    inner: bool = param(False, "Keep closed shells that lie inside the solid", group="Mesh", advanced=True)
    seconds: float = param(60.0, "Training time of the network", unit="s", min=1.0, max=86_400.0, group="Network",
                           advanced=True)
    network: Literal["hashgrid", "siren", "deepsdf"] = param(
        "hashgrid", "Kind of the network: a hash grid learns fastest, SIREN is small and smooth, DeepSDF's is the "
                    "classic one", group="Network", advanced=True)

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        # Cells near the surface grow with the resolution's square; faces and points lie in a tree.
        near = self.resolution**2 * 12
        given = summary.get("faces", 0) + summary.get("points", 0)
        # Contouring or decimating takes several times as much as the mesh.
        each = 200 if self.quads or self.sharp or self.budget else 50
        memory = 450 + (near * each + given * 400 + summary.get("voxels", 0) * 40) / 2**20
        seconds = 4 + near / 4e5 + given / 1e5 + (self.seconds if self.method == "neural" else 0)
        return Estimate(memory_mb=int(memory), seconds=seconds)
