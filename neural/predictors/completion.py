"""Completing a partial, noisy scan: the code, and the place, of the shape that agrees best with what was seen.

DeepSDF (Park et al. 2019, sections 4.2 and 6.3) knows where the shape stands. A scan of a part does not say how large
the whole is, so here its place is looked for as well. Shapes that the model has seen are tried where a whole may
stand, and the best are fitted. Where the scan ends at a plane, all before it was seen: the distance is known there,
off the surface too, and a shape that has more than was seen is wrong.

What fits equally well may differ where nothing was seen. So the shape that is taken is the one from which all likely
ones differ least, and how much they do is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..geometry.cut import Cut, closes, find_cut
from ..geometry.shape_samples import Frame
from ..training.shape_code import Placing, fit_codes, sample_error
from .deepsdf import CLAMP, Layers, decode, with_code
from .shape_model import ShapeDistance, ShapeModel

# Where a part may be missing: the axis, and whether at its lower or upper end.
SIDES = {"left": (0, 0), "right": (0, 1), "front": (1, 0), "back": (1, 1), "below": (2, 0), "above": (2, 1)}
SLANT = 0.35  # cosine between a side and the way to what is missing, from which on the part may be missing there
RATIOS = 0.5, 1.0  # of what is beyond a cut to what is before it, along the way there
MOST_POINTS = 6000  # of a scan that are looked at
TRIED, SHAPES = 120, 48  # of these when so many shapes, as unlike as can be, are tried at all places
STARTS, ALIKE = 6, 2  # that are fitted beside the mean of all codes; so many of them for the same whole
STEPS, POINTS = 120, 192  # for each of them
LAST_STEPS, LAST_POINTS = 250, 512  # for the best
# How far before and behind the surface its normals say the distance, in the frame: before it is free space where
# nothing else was seen, behind it may be a thin wall.
BEFORE, BEHIND = 0.15, 0.03
OWN = 0.9  # of its distance from a point is a sample away from all others
# Before a cut: samples near the surface, their standard deviations, and samples anywhere; all in the frame.
NEAR, SPREADS, ANYWHERE = 6000, (0.07, 0.03), 3000
VOTERS, UNSURE = 6, 0.015  # nearest points that agree on a side, and how near to the surface none can
# What is likely: an error more than the least by `TELLING` is e times less so, and to see half of the whole is usual:
# the square of log(share / half) counts as `UNUSUAL` an error. A point within `SUPPORT` of the scan was seen.
TELLING, UNUSUAL, SUPPORT = 0.001, 0.004, 0.07
LATTICE, BAND = 32, 0.05  # points along an axis from which a surface is drawn, and how near to it they are
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
    apart: float  # how far other likely wholes lie from this one, a share of the scan's diagonal
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

    frame: the whole shape's, where it is known; it is then kept. Else about as much again may be missing on a side of
    SIDES, or on any, or nothing. Where normals are known and close the surface nothing is looked for.
    """
    generator = np.random.default_rng(seed)
    pick = generator.permutation(len(points))[:MOST_POINTS]
    points, normals = points[pick].astype(np.float64), None if normals is None else normals[pick]
    given = frame or Frame.around(points)
    unit = given.to_unit(points)
    cut = None if normals is None else find_cut(unit, normals)
    if missing == "search" and normals is not None and closes(unit, normals):
        missing = "nothing"
    samples = torch.from_numpy(_samples(unit, normals, cut, generator)).to(model.codes.device)
    wholes = [_place(Frame(np.zeros(3), 1.0))[:1]] if frame else list(map(_place, _wholes(unit, cut, missing)))
    codes, placing = _starts(model, samples, wholes, lambda share, text: on_progress(0.2 * share, text))
    codes, errors = fit_codes(model.layers, codes, samples.expand(len(codes), -1, -1),
                              None if frame else placing, steps=STEPS, points=POINTS, seed=seed,
                              on_progress=lambda share, text: on_progress(0.2 + 0.4 * share, text))
    best, apart = _choose(model.layers, codes, placing, errors.cpu().numpy(), unit)
    if frame:
        best = int(errors.argmin())
    placing = placing.chosen(torch.tensor([best], device=codes.device))
    codes, errors = fit_codes(model.layers, codes[best][None], samples, None if frame else placing, steps=LAST_STEPS,
                              points=LAST_POINTS, seed=seed + 1,
                              on_progress=lambda share, text: on_progress(0.6 + 0.4 * share, text))
    world_from_unit = _world_from_unit(placing, given)
    nearest = int((model.codes - codes).norm(dim=1).argmin())
    return Completed(ShapeDistance(model.layers, codes[0], world_from_unit), codes[0], world_from_unit, errors.item(),
                     model.names[nearest], apart / float(np.linalg.norm(np.ptp(unit, axis=0))), points)


def _samples(points: np.ndarray, normals: np.ndarray | None, cut: Cut | None,
             generator: np.random.Generator) -> np.ndarray:
    """Points of the frame with their distances (1, M, 4) float32: the scan's own, and what it tells of others."""
    rows = [np.column_stack((points, np.zeros(len(points))))]
    if normals is not None:
        rows += _along(points, normals, generator) if cut is None else [_before(points, normals, cut, generator)]
    found = np.concatenate(rows)
    return found[generator.permutation(len(found))][None].astype(np.float32)


def _along(points: np.ndarray, normals: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """What normals point at, and the distance there (M, 4), where no other point that was seen is nearer."""
    tree, rows = cKDTree(points), []
    for reach in (-BEHIND, BEFORE):
        offset = reach * generator.random((len(points), 1))
        beside = points + offset * normals
        away, _ = tree.query(beside)
        rows.append(np.column_stack((beside, offset))[away > OWN * np.abs(offset[:, 0])])
    return rows


def _before(points: np.ndarray, normals: np.ndarray, cut: Cut, generator: np.random.Generator) -> np.ndarray:
    """Places before a cut and their distances (M, 4); kept where what is beyond it can not be nearer.

    Their side is the one that all the nearest points are seen from.
    """
    near = points[generator.integers(len(points), size=NEAR)]
    near += generator.normal(size=near.shape) * np.resize(SPREADS, NEAR)[:, None]
    anywhere = generator.uniform(points.min(axis=0) - CLAMP, points.max(axis=0) + CLAMP, (ANYWHERE, 3))
    places = np.concatenate((near, anywhere))
    room = cut.before(places)
    away, index = cKDTree(points).query(places, VOTERS)
    side = np.sign(np.einsum("nkj,nkj->nk", places[:, None] - points[index], normals[index])).sum(axis=1) / VOTERS
    distance = away[:, 0]
    known = (room > np.minimum(distance, CLAMP)) & (np.abs(side) == 1) & (distance > UNSURE)
    return np.column_stack((places, distance * side))[known]


def _wholes(points: np.ndarray, cut: Cut | None, missing: str) -> list[Frame]:
    """The frames of what the points (N, 3) may be a part of: mirrored at a side or at the cut, or as they are."""
    ways = {name: np.eye(3)[axis] * (2 * end - 1) for name, (axis, end) in SIDES.items()}
    sides = [way for name, way in ways.items() if name == missing
             or missing == "search" and (cut is None or way @ cut.direction > SLANT)]
    beyond = [_mirrored(points, way, float((points @ way).max()), 1.0) for way in sides]
    if cut is not None and any(way @ cut.direction > SLANT for way in sides):
        for ratio in RATIOS:
            beyond += [_mirrored(points, cut.direction, cut.height, ratio),
                       cut.section + ratio * (cut.section - points)]
    return [Frame.around(np.concatenate((points, part))) for part in beyond] + (
        [Frame.around(points)] if missing in ("search", "nothing") else [])


def _mirrored(points: np.ndarray, way: np.ndarray, height: float, ratio: float) -> np.ndarray:
    return points + (height - points @ way)[:, None] * (1 + ratio) * way


def _place(frame: Frame) -> list[tuple[float, ...]]:
    """The numbers of `Placing` that bring a frame to the unit one, in each of four turns."""
    return [(-math.log(frame.scale), angle, *(-_turned(frame.centre, angle) / frame.scale))
            for angle in np.arange(4) * np.pi / 2]


def _turned(point: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * point[0] - sin * point[1], sin * point[0] + cos * point[1], point[2]])


@torch.no_grad()
def _starts(model: ShapeModel, samples: Tensor, wholes: list[list[tuple[float, ...]]],
            on_progress: Progress) -> tuple[Tensor, Placing]:
    """The codes (K, C) of the model's shapes and the places that agree best with the samples, and the mean code."""
    device = model.codes.device
    rows = torch.tensor([place for whole in wholes for place in whole], dtype=torch.float32, device=device)
    owner = [number for number, whole in enumerate(wholes) for _ in whole]
    places = Placing(rows[:, 0].clone(), rows[:, 1].clone(), rows[:, 2:].clone())
    few = samples[:, torch.linspace(0, samples.shape[1] - 1, TRIED).long()]
    codes = torch.cat((_unlike(model.codes, SHAPES), model.codes.mean(dim=0, keepdim=True)))
    errors = []
    for number in range(len(owner)):
        here = places.chosen(torch.full((len(codes),), number))
        errors.append(sample_error(model.layers, codes, few.expand(len(codes), -1, -1), here).mean(dim=1))
        on_progress((number + 1) / len(owner), "trying shapes and places")
    table = torch.stack(errors)  # (places, shapes)
    chosen: list[tuple[int, int]] = []
    for index in table.flatten().argsort().tolist():
        place, shape = divmod(index, len(codes))
        alike = sum(owner[other] == owner[place] for other, _ in chosen)
        if len(chosen) < STARTS and (alike < ALIKE or len(wholes) == 1):
            chosen.append((place, shape))
    chosen.append((int(table[:, -1].argmin()), len(codes) - 1))
    place, shape = torch.tensor(chosen, device=device).T
    return codes[shape], places.chosen(place)


def _choose(layers: Layers, codes: Tensor, placing: Placing, errors: np.ndarray,
            points: np.ndarray) -> tuple[int, float]:
    """Which of the fitted shapes all likely ones differ least from, and how far they are from it, in the frame."""
    scan = cKDTree(points)
    surfaces = [_surface(layers, code, placing.chosen(torch.tensor([number], device=codes.device)))
                for number, code in enumerate(codes)]
    share = np.array([np.mean(scan.query(surface)[0] < SUPPORT) for surface in surfaces])
    badness = errors + UNUSUAL * np.log(2 * share.clip(min=0.01)) ** 2
    likely = np.exp((badness.min() - badness) / TELLING)
    likely /= likely.sum()
    trees = list(map(cKDTree, surfaces))
    one_way = np.array([[np.mean(tree.query(surface)[0] ** 2) for surface in surfaces] for tree in trees])
    expected = (one_way + one_way.T) / 2 @ likely
    best = int(expected.argmin())
    return best, math.sqrt(expected[best])


def _surface(layers: Layers, code: Tensor, placing: Placing) -> np.ndarray:
    """Points (N, 3) of a shape's surface, at its place in the frame; the middle alone where it has none."""
    alone, none = with_code(layers, code), code.new_zeros(1, 0)
    axis = torch.linspace(-1, 1, LATTICE, device=code.device)
    lattice = torch.cartesian_prod(axis, axis, axis)
    with torch.no_grad():
        near = lattice[decode(alone, none, lattice[None])[0].abs() < BAND]
    near = (near if len(near) else lattice.new_zeros(1, 3)).requires_grad_()
    values = decode(alone, none, near[None])[0]
    slope = torch.autograd.grad(values.sum(), near)[0]
    with torch.no_grad():
        found = near - (values / slope.square().sum(dim=1).clamp(min=0.25))[:, None] * slope
        placed = (found - placing.shift) / placing.log_scale.exp()
        back = Placing(torch.zeros_like(placing.log_scale), -placing.angle, torch.zeros_like(placing.shift))
        return back.unit(placed[None])[0].cpu().numpy().astype(np.float64)


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
