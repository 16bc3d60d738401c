"""What all methods that make a shape of pictures have in common, and their model files.

A method is a module of this package, named after it, with a class `Network`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from ...formats.mesh import Mesh
from ...formats.model import Model, read_model
from ...recipes.errors import InputError

KIND = "image"


class Tensors:
    """A dataclass of nothing but tensors; what a network learns from."""

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        return type(self)(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


@dataclass(frozen=True)
class Batch(Tensors):
    """Pictures with what they show, in the view frame of each one's first picture (see `view`)."""

    images: Tensor  # (B, V, 6, S, S), `view.with_rays` of V pictures of one object
    distance: Tensor  # (B,) of the first picture's camera
    points: Tensor  # (B, P, 3) drawn evenly from the outer surface
    normals: Tensor  # (B, P, 3) unit, outward
    filled: Tensor  # (B, R, R, R) float, 1 inside and 0 outside, a frustum grid; R is the method's `grid`, or 0
    pose: Tensor  # (B, 4): sine of the camera's elevation; cosine and sine of twice the azimuth; how symmetric, 0 to 1


class Predictor(nn.Module):
    """A network that makes a closed shape of one or several pictures of one object.

    A subclass is built of nothing but what `architecture` holds, which its model file keeps.
    """

    method: ClassVar[str]
    grid: int = 0  # side of the frustum grid that it learns from
    reach: ClassVar[float] = 0.0  # of a voxel, by which what it learns to fill is larger than the solid
    views: ClassVar[int] = 1  # at most, that it takes
    # Normal (3,) and offset of a plane that its shapes are always symmetric about, if there is one.
    mirror: ClassVar[tuple[np.ndarray, float] | None] = None
    large: ClassVar[dict[str, Any]] = {}  # architecture of the size that is for graphics cards

    def __init__(self, **architecture: Any) -> None:
        super().__init__()
        self.architecture = architecture

    def loss(self, batch: Any, fraction: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, a `Batch` where the method makes shapes, and its parts by name.

        `fraction` of the training is over.
        """
        raise NotImplementedError

    def predict(self, images: Tensor, distance: Tensor) -> Mesh:
        """The shape that pictures (V, 6, S, S) of one object show, in the first one's view frame; distance: ()."""
        raise NotImplementedError


def network_of(method: str) -> type[Predictor]:
    """The class of a method by its name as users write it."""
    return importlib.import_module(f".{method.replace('-', '_')}", __package__).Network


def packed(network: Predictor, about: dict[str, Any]) -> Model:
    """What is stored of a training."""
    arrays = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    return Model(arrays, {"kind": KIND, "method": network.method, "architecture": network.architecture, **about})


def load(path: Path, method: str, device: torch.device) -> Predictor:
    """Read a model file of a method; InputError where it is of another or does not fit together."""
    model = read_model(path)
    found = model.about.get("method") if model.about.get("kind") == KIND else model.about.get("kind")
    if found != method:
        raise InputError(f"model: {path} is a model of {found!r} and {method!r} is expected; give one that "
                         f"`maquette train image --method {method}` has made")
    try:
        network = network_of(method)(**model.about["architecture"])
        expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"model: {path} does not say what it is built of; train it again") from error
    for name in sorted(expected.keys() | model.arrays.keys()):
        have = model.arrays[name].shape if name in model.arrays else None
        if have != expected.get(name):
            raise InputError(f"model: {path} has {name} of shape {have} and {expected.get(name)} is expected; "
                             "train it again")
    network.load_state_dict({name: torch.from_numpy(values) for name, values in model.arrays.items()})
    return network.to(device).eval()
