"""A photo of an object to a textured mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class Image(Recipe):
    """A photo of an object to a textured mesh that looks like it from the photo's side and plausible from behind."""

    label: ClassVar[str] = "Image to Mesh"
    action: ClassVar[str] = "Make Mesh"
    input: ClassVar[str] = "photos"
    model_kind: ClassVar[str] = "image"
    output: ClassVar[str] = "objects"
    example: ClassVar[str] = "maquette image chair.png -o chair.glb"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "draft": {"fit": False, "texture": 512}, "standard": {}, "best": {"texture": 2048}}

    image: str = param("", "The photo's name among Blender's images, empty for the one that an image editor shows; not "
                           "for files")
    method: Literal["auto", "mesh-rcnn", "pixel2mesh", "voxels", "octree", "points", "inflate"] = param(
        "auto", "What makes the first shape: auto is the best network there is; voxels takes further photos of the "
                "same object, too; inflate blows the outline up, without a network")
    model: str = param("", "A network's file that Train on Pictures has made, empty for the one that ships")
    mask: str = param("", "A picture that is white where the object is, empty for the photo's own transparency, else "
                          "its background is removed", group="Photo")
    behind: str = param("", "A second photo, from behind, for the texture of the far side", group="Photo")
    lens: float = param(0.0, "Focal length as on a 36 mm wide sensor, 0 for what the file says, else 50", unit="mm",
                        min=0.0, max=2000.0, group="Photo")
    fit: bool = param(True, "Fit the shape to the photo's outline", group="Mesh")
    symmetric: bool = param(True, "Take the object for symmetric where it looks so", group="Mesh")
    size: float = param(1.0, "Longest side of the (first) object", unit="m", min=1e-6, max=1e6, group="Mesh")
    texture: int = param(1024, "Side of the texture", unit="px", min=64, max=8192, group="Mesh")

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        pixels = summary.get("pixels", 4e6)
        return Estimate(memory_mb=int(750 + 100 * self.fit + (12 * pixels + 110 * self.texture**2) / 2**20),
                        seconds=4 + 8 * self.fit + self.texture**2 / 5e5, gpu_mb=1500)
