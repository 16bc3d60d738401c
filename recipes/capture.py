"""Posed pictures or the scene's own cameras to a textured mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .base import Estimate, Recipe, param
from .errors import InputError


def box_of(bounds: str) -> list[list[float]] | None:
    """The lower and upper corner that a text of six numbers says, None where it is no such text.

    Raises InputError where they bound nothing.
    """
    try:
        numbers = [float(word) for word in bounds.split(",")]
    except ValueError:
        return None
    lower, upper = numbers[:3], numbers[3:]
    if len(numbers) != 6 or not all(math.isfinite(low) and low < high < math.inf for low, high in zip(lower, upper)):
        raise InputError(f"bounds: {bounds!r} is no box; give x0,y0,z0,x1,y1,z1, each first number below its second")
    return [lower, upper]


@dataclass(frozen=True)
class Capture(Recipe):
    """Posed pictures, or the scene's own cameras, to a neural field and from it to a textured mesh."""

    label: ClassVar[str] = "Capture"
    input: ClassVar[str] = "capture"
    output: ClassVar[str] = "field"
    compared: ClassVar[tuple[str, ...]] = ("surface", "grid")
    example: ClassVar[str] = "maquette capture transforms.json -o lego.glb"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "draft": {"seconds": 30.0, "resolution": 96, "faces": 10_000},
        "standard": {},
        "best": {"seconds": 600.0, "resolution": 256, "faces": 200_000},
    }

    method: Literal["surface", "grid", "nerf"] = param(
        "surface", "How the scene is represented: a signed distance gives the best meshes, "
                   "density and colour on a grid give the best pictures, nerf is the networks of the paper of 2020, "
                   "for a GPU or for hours")
    seconds: float = param(120.0, "Training time", unit="s", min=1.0, max=86_400.0)
    resolution: int = param(160, "Voxels of the field along the subject's longest side", min=16, max=512)
    faces: int = param(50_000, "Face budget of the mesh", min=100, max=10_000_000)
    texture: int = param(0, "Side of the texture; 0 makes its texels as large as the views' pixels are on the surface",
                         unit="px", min=0, max=8192)
    model: str = param("", "Weights of NeRF to begin with, for the method nerf: a .safetensors file of networks that "
                           "were trained in the views' world", advanced=True)
    views: Literal["rendered", "photos", "folder"] = param(
        "rendered", "Where a Blender scene's views come from: Cycles renders what the cameras see, "
                    "each camera's background image is its photo, or photos in a folder, whose cameras are found and "
                    "come into the scene with the mesh", group="Views")
    photos: str = param("", "The folder of photos, for views from a folder", group="Views")
    subject: str = param(
        "", "Collection whose objects are captured, the others only light the scene; empty is everything "
            "that renders", group="Views")
    bounds: str = param(
        "", "What bounds the subject: an object of the scene (an empty shown as a cube or a sphere, or a mesh), or "
            "x0,y0,z0,x1,y1,z1, a box's lower and upper corner in metres; empty finds it", group="Views")
    size: int = param(256, "Longest side of the rendered views", unit="px", min=16, max=4096, group="Views")
    samples: int = param(32, "Cycles samples per pixel of the rendered views", min=1, max=4096, group="Views",
                         advanced=True)
    depth: bool = param(False, "Begin the surface where the views' own depth says, if they come with depth: for deep "
                        "hollows that pictures alone do not show", group="Views",
                        advanced=True)
    refine_poses: bool = param(False, "Before training, move the cameras until what matches in the pictures meets in "
                               "points (bundle adjustment), where poses are off by a degree or so",
                               group="Views", advanced=True)
    hold_out: int = param(8, "Every n-th view is held out to measure quality where the input names no test "
                             "views, 0 for none", min=0, max=1000, group="Views", advanced=True)
    normal_map: bool = param(True, "Bake what the face budget leaves out into a normal map of the texture's size",
                             group="Mesh", advanced=True)
    floaters: float = param(1.0, "Pieces with less than this share of the largest piece's area are removed",
                            unit="%", min=0.0, max=100.0, group="Mesh", advanced=True)

    def longest_side(self) -> int:
        """Pixels on a picture's longest side beyond which the field cannot use them: larger ones are reduced."""
        return 4 * self.resolution

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        # Rays and pictures: 4 float32 channels, twice while they are ordered. Field: rows of the cells near
        # the surface with their gradients and Adam's two moments; extraction needs a few dense grids.
        pixels = min(summary.get("pixels", 0), summary.get("views", 0) * self.longest_side() ** 2)
        pixels_mb = pixels * 4 * 4 * 2 / 2**20
        field_mb = self.resolution**3 * 4 * 24 / 2**20
        texels = self.texture**2 or min(pixels, 4096**2)
        texture_mb = texels * 4 * 12 / 2**20
        seconds = 1.25 * self.seconds + 30
        if self.method == "nerf":
            # What the layers keep of a step's samples, and the hull. A held-out pixel takes about a millisecond of
            # two cores: half of them see the subject, and two networks are asked 256 times for each.
            field_mb = 800 + self.resolution**3 * 12 / 2**20
            seconds += 1e-3 * pixels / self.hold_out if self.hold_out else 0
        # Photos without cameras: features of each, matches with at most forty, one camera after the other.
        unposed = summary.get("unposed", 0)
        seconds += unposed * (1.5 + 0.04 * min(unposed, 40) + 0.02 * unposed)
        return Estimate(memory_mb=int(900 + pixels_mb + field_mb + texture_mb + 4 * unposed), seconds=seconds)
