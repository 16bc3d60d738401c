"""Posed pictures onto a mesh that is there already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class Texture(Recipe):
    """A mesh, as an artist has built it anew, to the same with a texture from the photos of the scene's cameras."""

    label: ClassVar[str] = "Texture"
    action: ClassVar[str] = "Texture the Active Object"
    input: ClassVar[str] = "pictured"
    output: ClassVar[str] = "texture"
    example: ClassVar[str] = "maquette texture retopology.glb --capture transforms.json -o textured.glb"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"draft": {"size": 800}, "best": {"size": 3200}}

    capture: str = param("", "The pictures with their cameras: on the command line a transforms.json or the folder of a "
                             "capture; in Blender the cameras with their background images count")
    texture: int = param(0, "Side of the texture; 0 makes its texels as large as the views' pixels are on the surface",
                         unit="px", min=0, max=8192)
    size: int = param(1600, "Longest side that pictures are reduced to", unit="px", min=64, max=8192)

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        views = summary.get("views", 0)
        pixels = min(summary.get("pixels", 0), views * self.size**2)
        texels = self.texture**2 or min(pixels, 4096**2)
        # Pictures as float32 and as bytes with depth; texels with their points, colours and weights.
        return Estimate(memory_mb=int(500 + (pixels * 28 + texels * 60) / 2**20),
                        seconds=10 + pixels / 2e6 + texels * views / 2e7)
