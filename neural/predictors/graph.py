"""What networks on meshes are built of: packed meshes, graph convolution, features fetched from pictures, unpooling.

Meshes of different topology are packed: their vertices stand one after the other, so that a batch is one graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PLACES_A_CORNER = (0, 1), (1, 2), (2, 0)


@dataclass(frozen=True)
class Packed:
    """The connections of B meshes with V vertices, F faces and E edges together."""

    faces: Tensor  # (F, 3) int64
    edges: Tensor  # (E, 2) int64, each once, the lesser vertex first
    owner: Tensor  # (V,) int64 which mesh a vertex is of
    sizes: tuple[int, ...]  # (B,) how many vertices each mesh has
    neighbours: Tensor  # (2E,) int64, by vertex
    start: Tensor  # (V + 1,) int64 where the neighbours of a vertex begin

    @property
    def count(self) -> int:
        """B."""
        return len(self.sizes)

    @property
    def degree(self) -> Tensor:
        """How many neighbours each vertex has, (V,)."""
        return self.start.diff()


def pack(sizes: list[int], faces: list[np.ndarray], device: torch.device) -> Packed:
    """The connections of meshes with so many vertices and faces (F, 3) each."""
    first = np.cumsum([0, *sizes])
    joined = np.concatenate([part.astype(np.int64) + shift for part, shift in zip(faces, first[:-1], strict=True)])
    sides = np.concatenate([joined[:, pair] for pair in _PLACES_A_CORNER])
    sides.sort(axis=1)
    total = int(first[-1])
    key = np.unique(sides[:, 0] * total + sides[:, 1])
    edges = np.stack((key // total, key % total), axis=1)
    both = np.concatenate((edges, edges[:, ::-1]))
    both = both[np.argsort(both[:, 0], kind="stable")]
    start = np.append(0, np.cumsum(np.bincount(both[:, 0], minlength=total)))
    owner = np.repeat(np.arange(len(sizes)), sizes)

    def on_device(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(device)

    return Packed(on_device(joined), on_device(edges), on_device(owner), tuple(sizes), on_device(both[:, 1]),
                  on_device(start))


class _NeighbourSum(torch.autograd.Function):
    """The sum over neighbours is its own transpose: the gradient is gathered like the values, nothing is scattered."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, neighbours: Tensor, start: Tensor) -> Tensor:
        ctx.save_for_backward(neighbours, start)
        return _bag_sum(features, neighbours, start)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _bag_sum(gradients[0].contiguous(), *ctx.saved_tensors), None, None


def _bag_sum(features: Tensor, neighbours: Tensor, start: Tensor) -> Tensor:
    return F.embedding_bag(neighbours, features, start, mode="sum", include_last_offset=True)


def neighbour_sum(features: Tensor, graph: Packed) -> Tensor:
    """The sum (V, C) of each vertex's neighbours' features (V, C)."""
    total: Tensor = _NeighbourSum.apply(features, graph.neighbours, graph.start)
    return total


def neighbour_mean(features: Tensor, graph: Packed) -> Tensor:
    """The mean (V, C) of each vertex's neighbours' features (V, C)."""
    return neighbour_sum(features, graph) / graph.degree[:, None].clamp(min=1)


class GraphConvolution(nn.Module):
    """h' = W0 h + b0 + Σ (W1 h_j + b1) over a vertex's neighbours j (Mesh R-CNN, section 3.3, as PyTorch3D has it).

    normalised: the mean over the neighbours in place of the sum, as in Pixel2Mesh (Wang et al. 2018, section 3.2).
    spread: standard deviation of the weights at first; biases begin at 0. Without it they begin as `nn.Linear`'s.
    """

    def __init__(self, inputs: int, outputs: int, *, normalised: bool = False, spread: float | None = None) -> None:
        super().__init__()
        self.own, self.other = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)
        self.gather = neighbour_mean if normalised else neighbour_sum
        if spread is not None:
            for linear in (self.own, self.other):
                nn.init.normal_(linear.weight, std=spread)
                nn.init.zeros_(linear.bias)

    def forward(self, features: Tensor, graph: Packed) -> Tensor:
        return self.own(features) + self.gather(self.other(features), graph)


def vert_align(maps: list[Tensor], places: Tensor, graph: Packed) -> Tensor:
    """What maps have at vertices' places, linear between their centres, side by side: (V, sum of C).

    Maps (B, C, H, W) are fetched from at places (V, 2) as `view.project` gives them, −1 to 1 from border to border;
    grids (B, C, D, H, W) at (V, 3). Deviation from Mesh R-CNN's, which takes the outer pixels' centres for ±1
    (align_corners=True) and reads 0 outside: beyond the outer centres the border goes on.
    """
    found = []
    for number, part in enumerate(places.split(graph.sizes)):
        grid = part.reshape(1, *[1] * (part.shape[1] - 1), *part.shape)
        found.append(torch.cat([F.grid_sample(each[number:number + 1], grid.to(each.dtype), padding_mode="border",
                                              align_corners=False).flatten(2)[0].T for each in maps], dim=1))
    return torch.cat(found)


def unpool(values: Tensor, edges: Tensor) -> Tensor:
    """A vertex more in the middle of each edge, behind the old ones: values (..., V, C) to (..., V + E, C)."""
    return torch.cat((values, values[..., edges, :].mean(dim=-2)), dim=-2)


def divided(faces: np.ndarray, edges: np.ndarray, vertices: int) -> np.ndarray:
    """Each face (F, 3) as four, on the vertices that `unpool` makes of edges (E, 2), sorted as in `Packed`."""
    key = edges[:, 0] * vertices + edges[:, 1]
    middle = []
    for pair in _PLACES_A_CORNER:
        side = np.sort(faces[:, pair].astype(np.int64), axis=1)
        middle.append(vertices + np.searchsorted(key, side[:, 0] * vertices + side[:, 1]))
    (a, b, c), (ab, bc, ca) = faces.T, middle
    return np.concatenate([np.stack(corners, axis=1) for corners in
                           ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])


@cache
def ellipsoid() -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Pixel2Mesh's template: vertices (156, 3) on the unit sphere, and the faces of its three levels.

    Each level has a vertex more an edge of the one before: 156, 618, 2466 vertices and 308, 1232, 4928 faces. The
    places are this project's own: evenly along a spiral, and their convex hull.
    """
    from scipy.spatial import ConvexHull

    number = np.arange(156) + 0.5
    height, turn = 1 - 2 * number / 156, np.pi * (1 + np.sqrt(5)) * number
    around = np.sqrt(1 - height**2)
    points = np.stack((around * np.cos(turn), height, around * np.sin(turn)), axis=1)
    faces = ConvexHull(points).simplices.astype(np.int64)
    a, b, c = np.moveaxis(points[faces], 1, 0)
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), a) < 0
    faces[inward] = faces[inward][:, ::-1]
    levels, count = [faces], len(points)
    for _ in range(2):
        edges = pack([count], [levels[-1]], torch.device("cpu")).edges.numpy()
        levels.append(divided(levels[-1], edges, count))
        count += len(edges)
    return points.astype(np.float32), tuple(levels)
