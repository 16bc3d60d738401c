"""A folder of models to a network that makes such shapes of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .base import Estimate, Recipe, param


@dataclass(frozen=True)
class TrainImage(Recipe):
    """A folder of models to a network that makes such shapes of single pictures, which are rendered on the fly."""

    label: ClassVar[str] = "Train on Pictures"
    action: ClassVar[str] = "Train"
    input: ClassVar[str] = "shapes"
    model_kind: ClassVar[str] = "image"
    output: ClassVar[str] = "model"
    example: ClassVar[str] = "maquette train image --data models -o mine.safetensors --method mesh-rcnn"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "draft": {"seconds": 600.0}, "best": {"seconds": 86_400.0, "size": "large"}}

    method: Literal["mesh-rcnn", "pixel2mesh", "voxels", "octree", "points", "pose", "detector"] = param(
        "mesh-rcnn", "The network that is trained; pose is the one that tells from where an object is seen, which all "
                     "the others stand upright by, and detector the one that finds objects before a background")
    seconds: float = param(14_400.0, "Training time, without the time for preparing the models", unit="s", min=1.0,
                           max=604_800.0)
    held_out: float = param(10.0, "Share of the models that are not trained on but measured; a model's variants go "
                            "with it", unit="%", min=0.0, max=50.0)
    size: Literal["small", "large"] = param(
        "small", "Small networks are for processors and ship with Maquette, large ones for graphics cards",
        group="Network")
    batch: int = param(16, "Objects in a step, of all processes together", min=1, max=4096, group="Network")
    licence: str = param("", "Licence of the models and where they are from, written into the network's file",
                         group="Network", advanced=True)

    def estimate(self, summary: dict[str, Any]) -> Estimate:
        models = summary.get("shapes", 0)
        wide = 4 if self.size == "large" else 1
        return Estimate(memory_mb=int(1500 + models * 0.5 + self.batch * 20 * wide),
                        seconds=self.seconds + 60 + models * 0.6, gpu_mb=int(1500 + self.batch * 60 * wide))
