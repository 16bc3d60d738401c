"""Completing a partial, noisy scan: the code, and the place, of the shape that agrees best with what was seen.

DeepSDF (Park et al. 2019, sections 4.2 and 6.3) knows where the shape stands. A scan of a part does not say how large
the whole is, so here its place is looked for as well: the scan may be the whole, or the half of something that goes on
beyond one of its sides. Shapes that the model has seen are tried at each such place, and the best are fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..geometry.shape_samples import Frame
from ..training.shape_code import Placing, fit_codes, sample_error
from .shape_model import ShapeDistance, ShapeModel

# Where a part may be missing: the axis, and whether at its lower or upper end.
SIDES = {"left": (0, 0), "right": (0, 1), "front": (1, 0), "back": (1, 1), "below": (2, 0), "above": (2, 1)}
MOST_POINTS = 6000  # of a scan that are looked at
TRIED, SHAPES = 160, 64  # of these when so many shapes, as unlike as can be, are tried at all places
STARTS = 4  # that are fitted, beside the mean of all codes
STEPS, POINTS = 200, 384  # for each of them
LAST_STEPS, LAST_POINTS = 300, 1024  # for the best
# How far before and behind the surface its normals say the distance, in the frame: before it is free space where
# nothing else was seen, behind it may be a thin wall.
BEFORE, BEHIND = 0.15, 0.03
OWN = 0.9  # of its distance from a point is a sample away from all others
# What an error is corrected by, and within which distance of points that were seen.
NEIGHBOURS, REACH = 16, 0.06
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Completed:
    """What a scan is a part of."""

    shape: ShapeDistance  # in the world
    code: Tensor  # (C,)
    world_from_unit: np.ndarray  # (4, 4) of the shape's frame
    error: float  # mean distance of what was seen from the shape, in the unit sphere's frame
    nearest: str  # the shape of the model whose code is most alike
    seen: np.ndarray  # (N, 3) the points of the scan that were looked at

    def corrected(self) -> Seen:
        """The shape that passes through what was seen."""
        return Seen(self.shape, self.seen, REACH * float(np.cbrt(np.linalg.det(self.world_from_unit[:3, :3]))))


class Seen:
    """A shape corrected where it was seen: its values are shifted by the errors at the nearest seen points.

    The shift fades to nothing at `REACH` from the points, so that what was not seen stays as the model has it.
    """

    def __init__(self, shape: ShapeDistance, points: np.ndarray, reach: float):
        self._shape, self._tree, self._reach = shape, cKDTree(points), reach
        self._error = shape(torch.from_numpy(points).float()).cpu().numpy()
        # The shift goes from the largest error to none within the reach, at most so fast as the weight's falls.
        self.lipschitz = shape.lipschitz + 4 * float(np.abs(self._error).max()) / reach
        low, high = points.min(axis=0), points.max(axis=0)
        self.box = np.stack((np.minimum(shape.box[0], low), np.maximum(shape.box[1], high)))

    def __call__(self, points: Tensor) -> Tensor:
        away, index = self._tree.query(points.cpu().numpy(), NEIGHBOURS, distance_upper_bound=self._reach)
        weight = np.square(np.clip(1 - np.square(away / self._reach), 0, None))  # Tukey's biweight
        error = np.append(self._error, 0.0)[index]
        total = weight.sum(axis=1)
        shift = (weight * error).sum(axis=1) / np.maximum(total, 1e-9) * np.minimum(weight.max(axis=1) * 2, 1)
        return self._shape(points) - torch.from_numpy(shift).float().to(points.device)


def complete(model: ShapeModel, points: np.ndarray, normals: np.ndarray | None, *, frame: Frame | None = None,
             missing: str = "search", seed: int = 0,
             on_progress: Progress = lambda fraction, message: None) -> Completed:
    """The whole of which the points (N, 3), with their outward normals where known, are a part; in the world.

    frame: the whole shape's, where it is known; it is then kept. Else as much again may be missing on a side of
    SIDES, or on any, or nothing.
    """
    generator = np.random.default_rng(seed)
    pick = generator.permutation(len(points))[:MOST_POINTS]
    points, normals = points[pick].astype(np.float64), None if normals is None else normals[pick]
    given = frame or Frame.around(points)
    samples = torch.from_numpy(_samples(given.to_unit(points), normals, generator)).to(model.codes.device)
    if frame is None:
        places = _places(given.to_unit(points), missing)
    else:
        places = Placing.none(1, model.codes.device)
    codes, placing = _starts(model, samples, places, lambda share, text: on_progress(0.2 * share, text))
    codes, errors = fit_codes(model.layers, codes, samples.expand(len(codes), -1, -1),
                              None if frame else placing, steps=STEPS, points=POINTS, seed=seed,
                              on_progress=lambda share, text: on_progress(0.2 + 0.4 * share, text))
    best = errors.argmin()[None]
    placing = placing.chosen(best)
    codes, errors = fit_codes(model.layers, codes[best], samples, None if frame else placing, steps=LAST_STEPS,
                              points=LAST_POINTS, seed=seed + 1,
                              on_progress=lambda share, text: on_progress(0.6 + 0.4 * share, text))
    world_from_unit = _world_from_unit(placing, given)
    nearest = int((model.codes - codes).norm(dim=1).argmin())
    return Completed(ShapeDistance(model.layers, codes[0], world_from_unit), codes[0], world_from_unit, errors.item(),
                     model.names[nearest], points)


def _samples(points: np.ndarray, normals: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
    """Points of the frame with their distances (1, M, 4) float32: the scan's own, and those its normals point at.

    The latter count where no other point that was seen is nearer.
    """
    rows = [np.column_stack((points, np.zeros(len(points))))]
    if normals is not None:
        tree = cKDTree(points)
        for reach in (-BEHIND, BEFORE):
            offset = reach * generator.random((len(points), 1))
            beside = points + offset * normals
            away, _ = tree.query(beside)
            rows.append(np.column_stack((beside, offset))[away > OWN * np.abs(offset[:, 0])])
    found = np.concatenate(rows)
    return found[generator.permutation(len(found))][None].astype(np.float32)


def _places(points: np.ndarray, missing: str) -> Placing:
    """Where the whole may stand, in the frame of a scan (N, 3): as it is, or with as much again beyond a side."""
    box = points.min(axis=0), points.max(axis=0)
    wholes = [points] if missing == "search" else []
    for axis, end in SIDES.values() if missing == "search" else [SIDES[missing]]:
        beyond = points.copy()
        beyond[:, axis] = 2 * box[end][axis] - beyond[:, axis]
        wholes.append(np.concatenate((points, beyond)))
    places = [(-math.log(frame.scale), angle, *(-_turned(frame.centre, angle) / frame.scale))
              for frame in map(Frame.around, wholes) for angle in np.arange(4) * np.pi / 2]
    rows = torch.tensor(places, dtype=torch.float32)
    return Placing(rows[:, 0].clone(), rows[:, 1].clone(), rows[:, 2:].clone())


def _turned(point: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * point[0] - sin * point[1], sin * point[0] + cos * point[1], point[2]])


@torch.no_grad()
def _starts(model: ShapeModel, samples: Tensor, places: Placing, on_progress: Progress) -> tuple[Tensor, Placing]:
    """The codes (K, C) of the model's shapes and the places that agree best with the samples, and the mean code."""
    places = Placing(*(part.to(model.codes.device) for part in places.parts()))
    few = samples[:, torch.linspace(0, samples.shape[1] - 1, TRIED).long()]
    codes = torch.cat((_unlike(model.codes, SHAPES), model.codes.mean(dim=0, keepdim=True)))
    errors = []
    for number in range(len(places.angle)):
        here = places.chosen(torch.full((len(codes),), number))
        errors.append(sample_error(model.layers, codes, few.expand(len(codes), -1, -1), here).mean(dim=1))
        on_progress((number + 1) / len(places.angle), "trying shapes and places")
    table = torch.stack(errors)  # (places, shapes)
    best = table.flatten().argsort()[:STARTS]
    shape, place = best % len(codes), best // len(codes)
    shape = torch.cat((shape, shape.new_tensor([len(codes) - 1])))
    place = torch.cat((place, table[:, -1].argmin()[None]))
    return codes[shape], places.chosen(place)


def _unlike(codes: Tensor, count: int) -> Tensor:
    """At most `count` of the codes (S, C): the first, then always the one that is farthest from those before."""
    chosen = [0]
    away = (codes - codes[0]).norm(dim=1)
    for _ in range(min(count, len(codes)) - 1):
        chosen.append(int(away.argmax()))
        away = torch.minimum(away, (codes - codes[chosen[-1]]).norm(dim=1))
    return codes[chosen]


def _world_from_unit(placing: Placing, frame: Frame) -> np.ndarray:
    """(4, 4) of one shape's frame."""
    scale, angle = math.exp(placing.log_scale.item()), placing.angle.item()
    unit_from_given = np.eye(4)
    unit_from_given[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    unit_from_given[:3, :3] *= scale
    unit_from_given[:3, 3] = placing.shift[0].cpu().numpy()
    world_from_given = np.diag([frame.scale] * 3 + [1.0])
    world_from_given[:3, 3] = frame.centre
    return world_from_given @ np.linalg.inv(unit_from_given)
