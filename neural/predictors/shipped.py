"""The networks that make shapes of pictures: those that ship, and the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from ...formats.model import FILE, SHIPPED, read_about
from ...recipes.errors import InputError
from .detector import Network as Detector
from .pose import Network as PoseNetwork
from .predictor import KIND, Predictor, load, network_of

# From the best to the last resort, by benchmarks/image.py.
BY_QUALITY = ("mesh-rcnn", "octree", "voxels", "pixel2mesh", "points", "inflate")
WITHOUT_WEIGHTS = ("inflate",)


def shipped(method: str) -> Path:
    """Where the network of a method is, if it ships."""
    return SHIPPED / f"image-{method}.safetensors"


def chosen(method: str, input_folder: Path, device: torch.device) -> Predictor:
    """The predictor of a method: the model in a job's input where there is one, else what ships.

    "auto" is the model's own method, else the best that ships. InputError where there is no network or a wrong one.
    """
    own = input_folder / FILE
    if own.exists():
        found = read_about(own).get("method")
        if method in WITHOUT_WEIGHTS:
            raise InputError(f"model: {method} needs none; leave it out, or choose the method auto")
        if found not in BY_QUALITY:
            raise InputError(f"model: the file that is given is a network of {found!r}, which makes no shapes; "
                             f"give one of {', '.join(BY_QUALITY[:-1])}")
        return load(own, found if method == "auto" else method, device)
    if method == "auto":
        method = next(m for m in BY_QUALITY if m in WITHOUT_WEIGHTS or shipped(m).exists())
    if method in WITHOUT_WEIGHTS:
        return network_of(method)().to(device).eval()
    if not shipped(method).exists():
        raise InputError(f"method: no network of {method} ships with this Maquette; give one with --model, which "
                         f"`maquette train image --method {method}` makes, or choose inflate, which needs none")
    return load(shipped(method), method, device)


def pose_network(device: torch.device) -> PoseNetwork | None:
    """What tells from where a picture was taken, None where it does not ship."""
    path = shipped("pose")
    return cast(PoseNetwork, load(path, "pose", device)) if path.exists() else None


def detector(device: torch.device) -> Detector | None:
    """What finds objects before a background, None where it does not ship."""
    path = shipped("detector")
    return cast(Detector, load(path, "detector", device)) if path.exists() else None
