"""A field that a capture has left to pictures from other cameras."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .base import Estimate, Recipe, param

TURNTABLE_FRAMES, TURNTABLE_SIZE = 60, 512


@dataclass(frozen=True)
class Render(Recipe):
    """The field of a capture to pictures with depth and normals, from a turntable or from cameras that are given."""

    label: ClassVar[str] = "Render Field"
    action: ClassVar[str] = "Render"
    input: ClassVar[str] = "field"
    output: ClassVar[str] = "pictures"
    example: ClassVar[str] = "maquette render lego.safetensors -o turntable"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"draft": {"size": 256}, "best": {"size": 1024}}

    cameras: str = param("", "Whose view is rendered: on the command line a transforms.json or the folder of a "
                             "capture, in Blender a camera's name; empty is a turntable around the field")
    frames: int = param(0, "How many pictures; 0 is 60 of a turntable, and one for each camera that is given",
                        min=0, max=10_000)
    size: int = param(0, "Longest side of the pictures; 0 is the cameras' own, and 512 px for a turntable",
                      unit="px", min=0, max=8192)
    elevation: float = param(20.0, "How far above the horizon a turntable's camera stands", unit="°", min=-90.0,
                             max=90.0, group="Turntable")
    distance: float = param(0.0, "Of a turntable's camera from the middle of the field; 0 shows the field as a whole",
                            unit="m", min=0.0, max=1e6, group="Turntable")
    lens: float = param(50.0, "Focal length of a turntable's camera, on a sensor 36 mm wide", unit="mm", min=1.0,
                        max=1000.0, group="Turntable")
    passes: bool = param(True, "Write depth (metres along the camera's axis, 0 where nothing is seen) and world "
                               "normals, too, as OpenEXR", advanced=True)

    def for_out(self, ending: str) -> Render:
        return replace(self, frames=1) if ending == ".png" else self

    def taken(self, cameras: int) -> int:
        """How many pictures are taken where so many cameras are given, 0 for a turntable."""
        return min(cameras, self.frames or cameras) if cameras else self.frames or TURNTABLE_FRAMES

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the picture of a camera of this size."""
        scale = self.size / max(width, height) if self.size else 1.0
        return max(round(width * scale), 1), max(round(height * scale), 1)

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        width, height = self.size_for(*summary.get("largest", (TURNTABLE_SIZE, TURNTABLE_SIZE)))
        pixels = width * height
        memory_mb = 800 + 30 * summary.get("field_mb", 20) + pixels * 8 * 4 * 4 / 2**20
        return Estimate(memory_mb=int(memory_mb), seconds=5 + self.taken(summary.get("views", 0)) * pixels / 2e5)
