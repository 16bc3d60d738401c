"""Folders of meshes to a model that knows such shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class ShapeTrain(Recipe):
    """Folders of meshes of one or two kinds to a model that completes, blends and invents such shapes."""

    label: ClassVar[str] = "Train on Shapes"
    input: ClassVar[str] = "shapes"
    model_kind: ClassVar[str] = "deepsdf"
    output: ClassVar[str] = "model"
    example: ClassVar[str] = "maquette shape train chairs tables -o furniture.safetensors --seconds 3600"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "draft": {"seconds": 300.0, "width": 128, "code": 64}, "best": {"seconds": 14_400.0, "width": 512, "code": 256}}

    seconds: float = param(3600.0, "Training time, without the time for sampling the meshes", unit="s", min=1.0,
                           max=604_800.0)
    held_out: float = param(8.0, "Share of the shapes that are not trained on but measured, with all that share "
                            "their name's beginning", unit="%", min=0.0, max=50.0)
    width: int = param(256, "Neurons in each of the eight layers", min=16, max=1024, group="Network")
    code: int = param(128, "Numbers that describe a shape", min=2, max=512, group="Network")
    samples: int = param(20_000, "Points at which each shape's distance is measured", min=1000, max=1_000_000,
                         group="Network", advanced=True)
    licence: str = param("", "Licence of the shapes and where they are from, written into the model",
                         group="Network", advanced=True)

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        shapes = summary.get("shapes", 0)
        sampled = shapes * self.samples
        weights = 8 * self.width**2 * 16  # with gradient and Adam's moments
        batch = 2**13 * self.width * 8 * 12
        return Estimate(memory_mb=int(850 + (sampled * 32 + weights + batch) / 2**20),
                        seconds=self.seconds + 20 + sampled / 2e4,
                        gpu_mb=int(900 + (weights + batch * 8) / 2**20))
