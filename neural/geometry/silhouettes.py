"""Which silhouettes do not belong to the others: one that was moved cuts the subject wherever it shows nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_dilation

from .posed import PosedPicture

FEWEST = 8  # views from which the others can tell which is wrong
CELLS = 32  # along the cube in which silhouettes are compared
# The share of silhouettes that may be outside the visual hull: rounding alone makes a thousandth.
AGREED = 0.005


def comparable(pictures: Sequence[PosedPicture]) -> bool:
    """Whether there are enough of them to contradict each other, and any shows something."""
    return len(pictures) >= FEWEST and any((p.rgba_srgb[..., 3] > 0.5).any() for p in pictures)


def outliers(pictures: Sequence[PosedPicture], most: int) -> tuple[list[int], float]:
    """Numbers of the pictures that contradict the others, and the share of the others' silhouettes in contradiction.

    Whatever a silhouette shows must be in the visual hull (Laurentini 1994). Where it is not, the places on its rays
    are shut out by pictures that are wrong. As long as there are such pixels, the picture goes that shuts out the
    most places on the rays of the most pictures; the fewer shut a place out, the likelier the subject is there. Ends
    with `most` of them.
    """
    views = _views(pictures)
    left = list(range(len(views)))
    found: list[int] = []
    shut = np.sum([v.out for v in views], axis=0)
    missed = [v.missed(shut == 0) for v in views]
    while (share := _share(views, missed, left)) > AGREED and len(found) < most:
        number = np.sum([np.append(missed[n], False)[views[n].pixel] for n in left], axis=0)
        blame = number / np.maximum(shut, 1) ** 2
        worst = max(left, key=lambda n: blame[views[n].out].sum())
        found.append(worst)
        left.remove(worst)
        shut = shut - views[worst].out
        missed = [v.missed(shut == 0) for v in views]
    return found, share


def _share(views: list[_View], missed: list[np.ndarray], left: list[int]) -> float:
    return sum(missed[n].sum() for n in left) / max(sum(views[n].mask.sum() for n in left), 1)


class _View:
    """A silhouette in pixels about as large as a cell, and which of them each cell's middle is."""

    def __init__(self, mask: np.ndarray, picture: PosedPicture, points: np.ndarray, cell: float):
        x, y, z = ((points - picture.world_from_camera[:3, 3]) @ picture.world_from_camera[:3, :3]).T
        depth = np.where(z < 0, -z, np.inf)
        column, row = np.floor(picture.fx * x / depth + picture.cx), np.floor(picture.cy - picture.fy * y / depth)
        height, width = mask.shape
        inside = (z < 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
        stride = max(1, int(np.ceil(cell * picture.fx / np.median(depth))))
        self.mask = mask[::stride, ::stride]
        self.pixel = np.full(len(points), -1)  # of the reduced picture; −1 outside
        at = np.flatnonzero(inside)
        self.out = np.zeros(len(points), bool)  # shut out by this view
        # Only where all of a cell shows nothing: the cells of a twig that is thinner than they are stay.
        shuts = ~binary_dilation(mask, iterations=int(np.ceil(cell * picture.fx / np.median(depth))))
        if picture.weight is not None:
            shuts &= picture.weight > 0
        self.out[at] = shuts[row[at].astype(int), column[at].astype(int)]
        self.pixel[at] = (row[at] // stride * self.mask.shape[1] + column[at] // stride).astype(int)

    def missed(self, held: np.ndarray) -> np.ndarray:
        """The silhouette's pixels in which none of the cells `held` lies, (H·W) bool."""
        covered = np.zeros(self.mask.size + 1, bool)
        covered[self.pixel[held]] = True
        return (self.mask & ~binary_dilation(covered[:-1].reshape(self.mask.shape), np.ones((3, 3)))).ravel()


def _views(pictures: Sequence[PosedPicture]) -> list[_View]:
    masks = [p.rgba_srgb[..., 3] > 0.5 for p in pictures]
    centre, half = _cube(pictures, masks)
    axis = half * ((np.arange(CELLS) + 0.5) / CELLS * 2 - 1)
    points = centre + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    return [_View(mask, p, points, 2 * half / CELLS) for mask, p in zip(masks, pictures, strict=True)]


def _cube(pictures: Sequence[PosedPicture], masks: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """A cube's centre (3,) and half side that hold what the silhouettes show, though some may be wrong.

    The centre is the place with the least sum of distances to the rays through the silhouettes' middles.
    """
    places, axes, sizes = [], [], []
    for p, mask in zip(pictures, masks, strict=True):
        if mask.any():
            rows, columns = np.nonzero(mask)
            x, y = (np.median(columns) + 0.5 - p.cx) / p.fx, (p.cy - np.median(rows) - 0.5) / p.fy
            axis = p.world_from_camera[:3, :3] @ (x, y, -1.0)
            places.append(p.world_from_camera[:3, 3])
            axes.append(axis / np.linalg.norm(axis))
            offset = np.hypot((columns + 0.5 - p.cx) / p.fx - x, (p.cy - rows - 0.5) / p.fy - y)
            sizes.append(np.percentile(offset, 98))
    at, along = np.array(places), np.array(axes)
    across = np.eye(3) - along[:, :, None] * along[:, None, :]
    weight = np.ones(len(at))
    for _ in range(10):
        focus = np.linalg.lstsq(np.einsum("n,nij->ij", weight, across), np.einsum("n,nij,nj->i", weight, across, at),
                                rcond=None)[0]
        off = np.linalg.norm(np.einsum("nij,nj->ni", across, focus - at), axis=1)
        weight = 1 / np.maximum(off, 1e-3 * np.linalg.norm(focus - at, axis=1))
    distance = np.abs(((focus - at) * along).sum(1))
    return focus, 1.5 * float(np.median(np.array(sizes) * distance))
