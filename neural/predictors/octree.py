"""Octree Generating Networks (Tatarchenko, Dosovitskiy and Brox 2017): a picture to voxels that are fine at the surface.

A dense decoder makes 16³ cells. From there on only cells of which the network says that they are mixed go on to a finer
level, each as eight children (section 3 of the paper; formats/octree.py has its keys and states). In training what is
mixed is known (the paper's `Prop-known`), to predict it is what the network finds (`Prop-pred`). The loss is the sum
over the levels of the mean cross-entropy of the cells that are there.

Deviations: the octree is the picture's frustum, so what was seen at a cell's pixel, at its level's resolution, is
added to it; convolutions see the six sides, not the 3³ around; and cells that are not mixed are not carried along as
neighbours, a convolution finds zeros there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...formats.mesh import Mesh
from ...formats.octree import EMPTY, FULL, MIXED
from .encoder import Encoder
from .frustum import SLOPE, Larger, surface
from .predictor import Batch, Predictor

# The object, and on the level's grid the slice, the row and the column, of each of N cells: (N,) int64.
Places = tuple[Tensor, Tensor, Tensor, Tensor]

DENSE = 4  # the level up to which the decoder is dense: 16³ cells
START = 4  # cells of the decoder's first grid along a side
THRESHOLD = 0.5
# A cell, and those at its sides.
SIDES = (0, 0, 0), (-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)


@dataclass(frozen=True)
class Cells:
    """Cells of one level of several objects' octrees, and what the network says of them.

    A key is the cell's Morton code with a leading 1, above which stands the object's number, so that of all objects
    the parent of k is k >> 3 and its children are k << 3 | 0 … 7.
    """

    level: int
    keys: Tensor  # (N,) int64 ascending
    places: Places  # of the keys
    features: Tensor  # (N, C)
    scores: Tensor  # (N, 3) logits of EMPTY, FULL and MIXED; at the last level none is mixed: −inf


def keys_of(places: Places, level: int) -> Tensor:
    """Keys (N,) int64 of cells within a level's grid."""
    number, *axes = places
    keys = (number << 1 | 1) << 3 * level
    for axis, along in enumerate(axes):
        for bit in range(level):
            keys = keys | (along >> bit & 1) << 3 * bit + axis
    return keys


def places_of(keys: Tensor, level: int) -> Places:
    """The inverse of `keys_of`."""
    none = torch.zeros_like(keys)
    x, y, z = (sum(((keys >> 3 * bit + axis & 1) << bit for bit in range(level)), none) for axis in range(3))
    return keys >> 3 * level + 1, x, y, z


def states_of(filled: Tensor) -> list[Tensor]:
    """The states (B, N, N, N) of all cells of the trees of grids (B, R, R, R), 1 inside and 0 outside; N = 1, 2 … R."""
    levels = [torch.where(filled > 0.5, FULL, EMPTY).to(torch.uint8)]
    while levels[0].shape[-1] > 1:
        states = levels[0]
        for axis in (1, 2, 3):  # what is alike is merged along one axis after the other
            one, other = states.unflatten(axis, (-1, 2)).unbind(axis + 1)
            states = torch.where(one == other, one, MIXED)
        levels.insert(0, states)
    return levels


def expanded(levels: list[Cells], count: int) -> Tensor:
    """Log odds (count, R, R, R) of being filled, on the last level's grid: of each voxel its leaf's."""
    grid = torch.zeros(count, 1, 1, 1, device=levels[0].keys.device)
    for cells in levels:
        repeat = (1 << cells.level) // grid.shape[-1]
        for axis in (1, 2, 3):
            grid = grid.repeat_interleave(repeat, axis)
        grid[cells.places] = (cells.scores[:, FULL] - cells.scores[:, EMPTY]).float()
    return grid


class Network(Predictor):
    """An octree of `levels` levels, 64³ voxels where it is finest."""

    method = "octree"

    def __init__(self, width: int = 16, levels: int = 6) -> None:
        super().__init__(width=width, levels=levels)
        self.grid = 1 << levels
        self.encoder = Encoder(width)
        first, fine, middle, coarse, last = self.encoder.channels
        self.start = nn.Conv2d(last, 4 * width * START, 1)
        self.around = nn.Conv3d(4 * width, 4 * width, 3, padding=1)
        self.dense = nn.ModuleList([Larger(4 * width, 2 * width, 8, coarse), Larger(2 * width, 2 * width, 16, middle)])
        self.dense_scores = nn.Linear(2 * width, 3)
        self.finer = nn.ModuleList()
        channels = 2 * width
        for level in range(DENSE + 1, levels + 1):
            made = max(channels // 2, 8)
            seen = fine if level == DENSE + 1 else first
            self.finer.append(Finer(channels, made, seen, is_last=level == levels))
            channels = made

    def forward(self, images: Tensor, states: list[Tensor] | None = None) -> list[Cells]:
        """The cells of the levels from 16³ on, of pictures (B, 6, S, S).

        states: `states_of` the truth, whose mixed cells go on; else those go on that the network finds.
        """
        first, fine, middle, coarse, last = self.encoder(images)
        x = self.start(last).reshape(len(images), -1, START, START, START)
        x = F.leaky_relu(x + self.around(x), SLOPE)
        x = self.dense[1](self.dense[0](x, coarse), middle)
        keys, places = _all_keys(len(images), x.device)
        features = x.movedim(1, -1)[places]
        levels = [Cells(DENSE, keys, places, features, self.dense_scores(F.leaky_relu(features, SLOPE)))]
        for finer in self.finer:
            last = levels[-1]
            state = last.scores.argmax(dim=1) if states is None else states[last.level][last.places]
            levels.append(finer(last, state == MIXED, fine if last.level == DENSE else first))
        return levels

    def loss(self, batch: Batch, fraction: float) -> tuple[Tensor, dict[str, float]]:
        states = states_of(batch.filled)
        parts = {}
        for cells in self(batch.images[:, 0], states):
            state = states[cells.level][cells.places].long()
            total = F.cross_entropy(cells.scores.float(), state, reduction="sum")
            parts[f"{1 << cells.level}³"] = total / max(len(state), 1)  # there may be none
        return torch.stack(list(parts.values())).sum(), {name: part.item() for name, part in parts.items()}

    @torch.no_grad()
    def predict(self, images: Tensor, distance: Tensor) -> Mesh:
        return surface(expanded(self(images[:1]), 1)[0], images[0, 3], THRESHOLD, distance)


class Finer(nn.Module):
    """The next level: eight children of each mixed cell and their scores.

    Where there is another level after it, a convolution among the children comes first.
    """

    def __init__(self, channels: int, made: int, seen: int, *, is_last: bool) -> None:
        super().__init__()
        self.split = nn.Linear(channels, 8 * made)
        self.along = nn.Linear(seen, made)
        self.convolution = None if is_last else SparseConvolution(made)
        self.scores = nn.Linear(made, 2 if is_last else 3)

    def forward(self, cells: Cells, goes_on: Tensor, seen: Tensor) -> Cells:
        """goes_on: (N,) bool, of the cells; seen: (B, seen, H, W), a map of the pictures at most at the next level."""
        level, parents = cells.level + 1, cells.keys[goes_on]
        octant = torch.arange(8, device=parents.device)
        keys = (parents[:, None] << 3 | octant).flatten()
        number, *axes = (along[goes_on, None] for along in cells.places)
        x, y, z = ((along << 1 | octant >> axis & 1).flatten() for axis, along in enumerate(axes))
        places = number.expand(-1, 8).flatten(), x, y, z
        features = self.split(F.leaky_relu(cells.features[goes_on], SLOPE)).reshape(len(keys), self.scores.in_features)
        shift = level + 1 - seen.shape[-1].bit_length()  # where the map is coarser than the level
        features = features + self.along(seen.movedim(1, -1))[places[0], y >> shift, z >> shift]
        if self.convolution is not None:
            features = features + self.convolution(F.leaky_relu(features, SLOPE), neighbours(parents, level - 1))
        scores = self.scores(F.leaky_relu(features, SLOPE))
        if self.convolution is None:
            scores = F.pad(scores, (0, 1), value=-torch.inf)
        return Cells(level, keys, places, features, scores)


class SparseConvolution(nn.Module):
    """A convolution over the cells that are there and those at their six sides; what is not there counts as zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(len(SIDES) * channels, channels)

    def forward(self, features: Tensor, neighbours: Tensor) -> Tensor:
        """Features (N, C) of cells with `neighbours` (N, 7)."""
        rows = F.pad(features, (0, 0, 1, 0))  # the first, which −1 names, is zero
        return self.linear(rows.index_select(0, neighbours.flatten() + 1).reshape(-1, self.linear.in_features))


def neighbours(parents: Tensor, level: int) -> Tensor:
    """Which of all children of ascending keys (P,) of a level lie at each and its `SIDES`: (8 · P, 7), −1 for none.

    A child's neighbour is a child of the same parent or of one of its neighbours, so only these are looked up.
    """
    number, *axes = places_of(parents, level)
    sides = torch.tensor(SIDES, device=parents.device)
    moved = torch.stack(axes, dim=1)[:, None] + sides  # (P, 7, 3)
    x, y, z = moved.unbind(dim=2)
    sought = keys_of((number[:, None], x, y, z), level)
    place = torch.searchsorted(parents, sought).clamp(max=len(parents) - 1)
    found = ((moved >= 0) & (moved < 1 << level)).all(dim=2) & (parents[place] == sought)
    axis = torch.arange(3, device=parents.device)
    beside = (torch.arange(8, device=parents.device)[:, None, None] >> axis & 1) + sides  # (8, 7, 3), −1 to 2
    # Which neighbour of the parent has it: that at the same side, or the parent itself.
    of_parent = torch.where((beside >> 1 == sides).all(dim=2), torch.arange(7, device=parents.device), 0)
    child = ((beside & 1) << axis).sum(dim=2)
    return torch.where(found[:, of_parent], 8 * place[:, of_parent] + child, -1).flatten(0, 1)


def _all_keys(count: int, device: torch.device) -> tuple[Tensor, Places]:
    """The ascending keys of all dense cells of `count` objects, and their places."""
    first = torch.arange(count, device=device)[:, None] << 1 | 1
    keys = (first << 3 * DENSE | torch.arange(8**DENSE, device=device)).flatten()
    return keys, places_of(keys, DENSE)
