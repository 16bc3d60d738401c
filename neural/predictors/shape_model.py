"""A trained shape model as the tasks use it: the decoder, the codes of the shapes it has seen, and their frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...formats.model import Model, read_model
from ...recipes.errors import InputError
from .deepsdf import CHUNK, CLAMP, Architecture, Decoder, Layers, decode, with_code

KIND = "deepsdf"
LATTICE = 48  # points along each axis of the unit cube, where a shape's box and its steepest slope are looked for
MOST_SLOPES = 4096  # points that a slope is taken at
STEEPER = 1.25  # than what is found on a lattice a slope may be


@dataclass(frozen=True)
class ShapeModel:
    """`about` is the model file's: what it was trained on, and how."""

    layers: Layers
    codes: Tensor  # (S, C) of the shapes that it was trained on
    about: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """Of the shapes, in the order of their codes."""
        return list(self.about["names"])

    def code_of(self, name: str) -> Tensor:
        """The code (C,) of a shape that it was trained on, by its name."""
        if name not in self.names:
            like = [other for other in self.names if name.lower() in other.lower()][:5] or self.names[:5]
            raise InputError(f"shape: {name!r} is not one of the model's {len(self.names)} shapes; "
                             f"{', '.join(like)} are")
        return self.codes[self.names.index(name)]


def packed(decoder: Decoder, codes: Tensor, about: dict[str, Any]) -> Model:
    """What is stored of a training: weights as they act, not as a length and a direction."""
    arrays = {"codes": codes.detach().cpu().numpy()}
    for number, (weight, bias) in enumerate(decoder.layers()):
        arrays[f"{number}.weight"] = weight.detach().cpu().numpy()
        arrays[f"{number}.bias"] = bias.detach().cpu().numpy()
    return Model(arrays, {"kind": KIND, "architecture": decoder.architecture.to_json(), **about})


def load(path: Path, device: torch.device) -> ShapeModel:
    """Read a model file; InputError where it is not that of a shape model or does not fit together."""
    model = read_model(path)
    if model.about.get("kind") != KIND:
        raise InputError(f"model: {path} is a model of kind {model.about.get('kind')!r}; give one that "
                         "`maquette shape train` has made")
    try:
        architecture = Architecture(**model.about["architecture"])
        expected: dict[str, tuple[int, ...]] = {"codes": (len(model.about["names"]), architecture.code)}
        for number, (inputs, outputs) in enumerate(architecture.sizes()):
            expected |= {f"{number}.weight": (outputs, inputs), f"{number}.bias": (outputs,)}
    except (KeyError, TypeError) as error:
        raise InputError(f"model: {path} lacks its architecture or names; train it again") from error
    for name, shape in expected.items():
        found = model.arrays[name].shape if name in model.arrays else None
        if found != shape:
            raise InputError(f"model: {path} has {name} of shape {found} and {shape} is expected; train it again")
    tensors = {name: torch.from_numpy(values).to(device) for name, values in model.arrays.items()}
    layers = [(tensors[f"{n}.weight"], tensors[f"{n}.bias"]) for n in range(len(architecture.sizes()))]
    return ShapeModel(layers, tensors["codes"], model.about)


class ShapeDistance:
    """A code's shape, as a `Distance`, at the place in the world that `world_from_unit` (4, 4) gives its frame.

    `world_from_unit` turns, scales evenly and moves. Up to a tenth of the unit sphere's radius the values are nearly
    distances; farther off the decoder was only asked to be at least that.
    """

    lipschitz: float  # not proved: the steepest slope that is found near the surface, and some more

    def __init__(self, layers: Layers, code: Tensor, world_from_unit: np.ndarray):
        self._layers, self._code = with_code(layers, code), code
        self._scale = float(np.cbrt(np.linalg.det(world_from_unit[:3, :3])))
        unit_from_world = np.linalg.inv(world_from_unit)
        self._unit_from_world = torch.from_numpy(unit_from_world).float().to(code.device)
        axis = torch.linspace(-1, 1, LATTICE, device=code.device)
        lattice = torch.cartesian_prod(axis, axis, axis)
        values = self._in_unit(lattice)
        self.box = _box_in_world(_box_around(lattice[values < 0].cpu().numpy()), world_from_unit)
        self.lipschitz = STEEPER * max(1.0, self._steepest(lattice[values.abs() < CLAMP]))

    def __call__(self, points: Tensor) -> Tensor:
        turn, shift = self._unit_from_world[:3, :3], self._unit_from_world[:3, 3]
        return self._in_unit(points @ turn.T + shift) * self._scale

    @torch.no_grad()
    def _in_unit(self, points: Tensor) -> Tensor:
        none = self._code.new_zeros(1, 0)
        parts = [decode(self._layers, none, part[None])[0] for part in points.split(CHUNK)]
        return torch.cat(parts) if parts else points.new_zeros(0)

    def _steepest(self, points: Tensor) -> float:
        """The largest slope at some of the points (N, 3) of the unit frame, 0 where there are none."""
        if not len(points):
            return 0.0
        points = points[::-(-len(points) // MOST_SLOPES)].clone().requires_grad_()
        values = decode(self._layers, self._code.new_zeros(1, 0), points[None])
        return torch.autograd.grad(values.sum(), points)[0].norm(dim=1).max().item()


def _box_around(inside: np.ndarray) -> np.ndarray:
    """(2, 3) around the points of a lattice (N, 3) that are inside, and a step of it more."""
    if not len(inside):
        return np.array([[-1.0] * 3, [1.0] * 3])
    step = 2 / (LATTICE - 1)
    return np.stack((inside.min(axis=0) - step, inside.max(axis=0) + step)).clip(-1, 1)


def _box_in_world(box: np.ndarray, world_from_unit: np.ndarray) -> np.ndarray:
    corners = np.array([[x, y, z] for x in box[:, 0] for y in box[:, 1] for z in box[:, 2]])
    corners = corners @ world_from_unit[:3, :3].T + world_from_unit[:3, 3]
    return np.stack((corners.min(axis=0), corners.max(axis=0)))
