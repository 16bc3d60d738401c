"""Which subjects are nearly one and the same shape: scaled, re-coloured, mirrored or turned by quarters.

Each is described by the signed distance at a coarse lattice of its frame's cube, and compared with all others in the
eight poses that quarter turns about the vertical and a mirror make.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .subject import REACH, SIDE

_LATTICE = 12  # points along each axis
# Mean difference of two twins' distances, of those that are not out of reach in both; in the frame's units.
NEARNESS = 0.006
_ROWS = 256  # subjects that are compared at once


def twin_groups(records: Sequence[np.void], groups: Sequence[str]) -> np.ndarray:
    """A number (N,) for each subject: the same for those of one group, and of groups with twins of each other."""
    known = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    of_group = np.array([known[group] for group in groups], np.int64)
    one, other = twins(np.stack([described(record) for record in records])) if len(records) else (of_group, of_group)
    links = coo_matrix((np.ones(len(one)), (of_group[one], of_group[other])), shape=(len(known), len(known)))
    return connected_components(links, directed=False)[1][of_group]


def lattice_points() -> np.ndarray:
    """The lattice's points (LATTICE³, 3), which fill the cube with the frame's unit sides."""
    axis = (np.arange(_LATTICE) + 0.5) / _LATTICE - 0.5
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def described(record: np.void) -> np.ndarray:
    """The signed distance (LATTICE, LATTICE, LATTICE) float32 at the lattice's points."""
    places = (lattice_points() / record["spacing"]).T + (SIDE - 1) / 2
    values = ndimage.map_coordinates(record["grid"], places, np.float32, order=1, cval=127) * (REACH / 127)
    return values.reshape(_LATTICE, _LATTICE, _LATTICE)


def twins(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of numbers of the described shapes (N, L, L, L) that are nearly equal in one of the eight poses."""
    rows = shapes.reshape(len(shapes), -1)
    pairs = []
    for pose in range(8):
        turned = np.rot90(shapes, pose // 2, axes=(1, 2))
        turned = (turned[:, ::-1] if pose % 2 else turned).reshape(rows.shape)
        for start in range(0, len(rows), _ROWS):
            one, other = _candidates(rows[start:start + _ROWS], turned)
            near = _difference(rows[start + one], turned[other]) < NEARNESS
            pairs.append(np.stack((start + one[near], other[near])))
    one, other = np.concatenate(pairs, axis=1)
    return one[one != other], other[one != other]


def _candidates(rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows whose squares differ by no more than a mean difference of NEARNESS asks for."""
    square = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * rows @ others.T
    one, other = np.nonzero(square < 6 * NEARNESS**2 * rows.shape[1])
    return one, other


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    told = (one < REACH) | (other < REACH)
    return (np.abs(one - other) * told).sum(axis=1) / np.maximum(told.sum(axis=1), 1)
