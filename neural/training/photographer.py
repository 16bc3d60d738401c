"""Photos of a corpus's subjects, made on the fly: random views, lights and materials, with the truth beside them.

A view is a crop as `predictors.view` has it. The camera goes anywhere around the subject, mostly from a little below
to well above it, with any lens from long to wide; a subject that would reach farther in depth than its crop is wide is
seen from elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...formats.mesh import Mesh
from ...formats.meshes import linear_from_srgb
from ..evaluation.single_view import Truth
from ..geometry.mirror import pose_of
from ..kernels.filled import filled
from ..kernels.shade import Scenes, shade
from ..predictors import view
from ..predictors.predictor import Batch
from .corpus import Corpus
from .darkroom import develop
from .studio import Studio, random_studio
from .subject import REACH, outer_surface

# Elevations of the camera in degrees, and how often they are drawn.
_ELEVATIONS, _OFTEN = ((-10.0, 45.0), (45.0, 70.0), (-30.0, -10.0)), (0.85, 0.1, 0.05)
_ROLL = 5.0  # degrees, at most
_FIELDS = (8.0, 45.0)  # degrees of the crop
_TRIES = 64  # of views, until a subject is no deeper than its crop is wide
_ROUNDS, _FITS = 100, 1e-5  # of fitting a crop, at most: the deeper a subject, the more; and when it fits
DEEPEST = 1.0  # half the depth that a subject may have in the view frame
_LINEAR = linear_from_srgb(np.arange(256) / 255).astype(np.float32)  # of each sRGB byte


@dataclass(frozen=True)
class View:
    """A camera around a subject, and the crop it makes."""

    azimuth: float  # of the camera, radians counter-clockwise from the subject's x axis
    elevation: float  # radians
    distance: float  # of the camera in the view frame
    view_from_subject: np.ndarray  # (3, 4) a rotation times a scale, and a shift

    @property
    def scale(self) -> float:
        return float(np.linalg.norm(self.view_from_subject[0, :3]))

    def place(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) of the subject in the view frame."""
        return points @ self.view_from_subject[:, :3].T + self.view_from_subject[:, 3]

    def placed(self, mesh: Mesh) -> Mesh:
        """A mesh of the subject's frame in the view frame."""
        return mesh.transformed(np.vstack((self.view_from_subject, [0, 0, 0, 1])))

    def turn(self, normals: np.ndarray) -> np.ndarray:
        return normals @ self.view_from_subject[:, :3].T / self.scale


class Photographer:
    """Draws batches of some of a corpus's subjects; each is a function of the seed and its number alone."""

    def __init__(self, corpus: Corpus, indices: Sequence[int], *, seed: int = 0, side: int = view.SIDE) -> None:
        self._corpus, self._indices, self._seed, self._side = corpus, list(indices), seed, side

    def batch(self, step: int, count: int, *, views: int = 1, points: int = 2048, grid: int = 0,
              reach: float = 0.0) -> Batch:
        """`count` subjects with `views` pictures each, on the CPU; see `Batch` for the shapes."""
        random = np.random.default_rng((self._seed, step))
        chosen = [self._indices[i] for i in random.integers(len(self._indices), size=count)]
        return self._made(chosen, random, views, points, grid, reach)

    def still(self, index: int, number: int, *, views: int = 1, points: int = 8192, grid: int = 0,
              reach: float = 0.0) -> Batch:
        """A batch of the corpus's subject `index` alone: for each `number` another that never changes."""
        return self._made([index], self._random(index, number), views, points, grid, reach)

    def still_view(self, index: int, number: int) -> View:
        """The first picture's view of a `still`."""
        return random_view(self._corpus[index], self._random(index, number))

    def truth(self, index: int, number: int) -> Truth:
        """The shape that a `still` shows, in its view frame, to measure predictions by."""
        subject, seen = self._corpus[index], self.still_view(index, number)
        return Truth(seen.place(subject["points"]), seen.placed(outer_surface(subject)))

    def _random(self, index: int, number: int) -> np.random.Generator:
        name = hashlib.sha256(self._corpus.entries[index].name.encode()).digest()
        return np.random.default_rng((int.from_bytes(name[:8]), number))

    def _made(self, chosen: list[int], random: np.random.Generator, views: int, points: int, grid: int,
              reach: float) -> Batch:
        subjects = [self._corpus[index] for index in chosen]
        seen = [[random_view(subject, random) for _ in range(views)] for subject in subjects]
        picks = [random.choice(len(subject["points"]), points, replace=points > len(subject["points"]))
                 for subject in subjects]
        shots = [(subject, one) for subject, some in zip(subjects, seen, strict=True) for one in some]
        studios = [random_studio(random) for _ in shots]
        linear = shade(scenes_of(shots, studios), self._side)
        rgba = develop(torch.from_numpy(linear).permute(0, 3, 1, 2), random)
        distance = torch.tensor([one.distance for _, one in shots])
        images = view.with_rays(rgba, distance).unflatten(0, (len(chosen), views))
        first = [some[0] for some in seen]
        places = [one.place(s["points"][pick]) for one, s, pick in zip(first, subjects, picks, strict=True)]
        normals = [one.turn(s["normals"][pick] / 127.0) for one, s, pick in zip(first, subjects, picks, strict=True)]
        poses = [pose_of(one.azimuth, one.elevation, s["symmetry"]) for one, s in zip(first, subjects, strict=True)]
        return Batch(images, distance.unflatten(0, (-1, views))[:, 0], _stacked(places),
                     torch.nn.functional.normalize(_stacked(normals), dim=-1),
                     torch.from_numpy(filled_grids(subjects, first, grid, reach)).float(), _stacked(poses))


def random_view(subject: np.void, random: np.random.Generator) -> View:
    """A view of a subject that is no deeper than its crop is wide, if there is one."""
    hull = subject["hull"].astype(np.float64)
    for _ in range(_TRIES):
        low, high = _ELEVATIONS[random.choice(len(_OFTEN), p=_OFTEN)]
        azimuth, elevation, roll = random.uniform((-np.pi, *np.radians((low, -_ROLL))),
                                                  (np.pi, *np.radians((high, _ROLL))))
        distance = view.distance_of(float(np.radians(np.exp(random.uniform(*np.log(_FIELDS))))))
        found = fitted_view(hull, azimuth, elevation, roll, distance)
        if np.ptp(found.place(hull)[:, 2]) <= 2 * DEEPEST:
            break
    return found


def fitted_view(hull: np.ndarray, azimuth: float, elevation: float, roll: float, distance: float) -> View:
    """The view from a direction in which a subject, given by its outermost points (H, 3), fills its crop."""
    turned = hull @ rotation(azimuth, elevation, roll).T
    middle = (turned.min(axis=0) + turned.max(axis=0)) / 2
    scale = 2 * view.FILL / max(np.ptp(turned[:, 0]), np.ptp(turned[:, 1]))
    shift = -scale * middle
    for _ in range(_ROUNDS):
        shift[2] = -scale * middle[2]
        over = distance / np.maximum(distance - (scale * turned[:, 2] + shift[2]), 1e-3)
        places = (scale * turned[:, :2] + shift[:2]) * over[:, None]
        low, high = places.min(axis=0), places.max(axis=0)
        off, grown = (low + high) / 2, 2 * view.FILL / (high - low).max()
        shift[:2] -= off
        scale, shift = scale * grown, shift * grown
        if max(np.abs(off).max(), abs(grown - 1)) < _FITS:
            break
    shift[2] = -scale * middle[2]
    pose = np.column_stack((scale * rotation(azimuth, elevation, roll), shift))
    return View(azimuth, elevation, distance, pose)


def rotation(azimuth: float, elevation: float, roll: float) -> np.ndarray:
    """The rotation (3, 3) from the subject's axes to the view frame's, of a camera in some direction.

    A roll turns the picture counter-clockwise.
    """
    (ca, sa), (ce, se), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (azimuth, elevation, roll))
    toward = np.array([ce * ca, ce * sa, se])
    right = np.array([-sa, ca, 0.0])
    up = np.cross(toward, right)
    return np.stack((cr * right - sr * up, sr * right + cr * up, toward))


def filled_grids(subjects: Sequence[np.void], views: Sequence[View], side: int, reach: float = 0.0) -> np.ndarray:
    """Frustum grids (B, side, side, side) uint8: 1 where a voxel's centre is inside the subject's solid, else 0.

    It may also be `reach` voxels away from it.
    """
    return filled(np.stack([subject["grid"] for subject in subjects]), REACH / 127,
                  np.stack([subject["spacing"] for subject in subjects]),
                  np.stack([one.view_from_subject for one in views]), np.array([one.distance for one in views]), side,
                  reach)


def scenes_of(shots: Sequence[tuple[np.void, View]], studios: Sequence[Studio]) -> Scenes:
    """What is to be shaded of subjects in their views and studios."""
    subjects = [subject for subject, _ in shots]
    first = np.cumsum([0, *(len(subject["corners"]) for subject in subjects)])
    return Scenes(first, np.concatenate([subject["corners"] for subject in subjects]),
                  np.concatenate([subject["shading"] for subject in subjects]).astype(np.float32) / np.float32(127),
                  _LINEAR[np.concatenate([subject["colors"] for subject in subjects])],
                  np.stack([subject["grid"] for subject in subjects]),
                  np.stack([subject["spacing"] for subject in subjects]), REACH / 127,
                  np.stack([one.view_from_subject for _, one in shots]).astype(np.float32),
                  np.array([one.distance for _, one in shots], np.float32),
                  *(np.stack(values).astype(np.float32) for values in zip(*studios, strict=True)))


def _stacked(parts: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(parts).astype(np.float32))
