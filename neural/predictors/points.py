"""Point Set Generation (Fan, Su and Guibas 2017): a picture to points on the whole object's surface, and to a mesh.

The authors' code is followed (sections 3.2 and 4.2 of the paper), in small. A first pass leads down to a vector and up
again, a second one, the hourglass, once more, with what each has seen at a size handed over by a linear convolution
that is added before the ReLU. Two heads give the points: one a vector's, free, the other a map's, whose points hang
together as the picture does. The mesh is what the `sdf` task makes of a scan, once it is known which way points face.

Deviations: a picture of 128² instead of 192×256, an encoder that other methods share, a map of 16² with three points a
pixel instead of 24×32 with one, and points of the map that are told as the way from their pixel's place, so that a
network that knows nothing yet covers the picture.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor, nn

from ...formats.mesh import Mesh
from ...recipes.errors import InputError
from ..geometry.outward import outward
from ..geometry.point_distance import PointDistance
from ..meshing.clean import remove_floaters, remove_inner_shells
from ..meshing.marching_cubes import marching_cubes
from .encoder import Encoder
from .mesh_loss import match
from .predictor import Batch, Predictor

FREE = 256  # points of the vector's head
EACH = 3  # points of a pixel of the map's head
CRUMB = 5.0  # percent of the largest part's area; less is dropped
BALLS = 48  # cells along the longest side of a mesh of balls
BACK = 0.5  # weight of the way from predicted to true points, as in the authors' code; the paper has 1


class Network(Predictor):
    """1,024 points: 256 free ones and three for each of 16² pixels."""

    method = "points"

    def __init__(self, width: int = 16, features: int = 128) -> None:
        super().__init__(width=width, features=features)
        self.encoder = Encoder(width)
        _, fine, middle, coarse, last = self.encoder.channels
        self.into_vector = nn.Linear(self.encoder.flat, features)
        self.up = nn.ModuleList([Up(last, coarse, coarse), Up(coarse, middle, middle), Up(middle, fine, fine)])
        self.down = nn.ModuleList([Down(fine, middle, middle), Down(middle, coarse, coarse)])
        self.bottom = nn.Conv2d(coarse, last, 3, stride=2, padding=1)
        self.again_into_vector = nn.Linear(self.encoder.flat, features)
        self.again_up = nn.ModuleList([Up(last, coarse, coarse), Up(coarse, middle, middle)])
        self.free = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, 3 * FREE))
        self.map = nn.Sequential(nn.Conv2d(middle, middle, 3, padding=1), nn.ReLU(),
                                 nn.Conv2d(middle, 3 * EACH, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Points (B, 1024, 3) in the view frame of pictures (B, 6, S, S), the free ones first."""
        _, fine, middle, coarse, last = self.encoder(images)
        vector = self.into_vector(last.flatten(1))
        up = [self.up[0](last, coarse)]
        up.append(self.up[1](up[-1], middle))
        down = [self.down[0](self.up[2](up[-1], fine), up[1])]
        down.append(self.down[1](down[-1], up[0]))
        bottom = F.relu(self.bottom(down[-1]))
        vector = F.relu(vector + self.again_into_vector(bottom.flatten(1)))
        x = self.again_up[1](self.again_up[0](bottom, down[1]), down[0])
        free = self.free(vector).reshape(len(images), FREE, 3)
        moved = self.map(x).permute(0, 2, 3, 1)
        places = _places(moved.shape[1], moved)[:, :, None]
        on_map = moved.reshape(*moved.shape[:3], EACH, 3) + places
        return torch.cat((free, on_map.reshape(len(images), -1, 3)), dim=1).float()

    def loss(self, batch: Batch, fraction: float) -> tuple[Tensor, dict[str, float]]:
        matched = match(self(batch.images[:, 0]), batch.points)
        missed, strayed = matched.back.mean(), matched.there.mean()
        return missed + BACK * strayed, {"missed": missed.item(), "strayed": strayed.item()}

    @torch.no_grad()
    def predict(self, images: Tensor, distance: Tensor) -> Mesh:
        return mesh_of(self(images[:1])[0].cpu().numpy().astype(np.float64))


def mesh_of(points: np.ndarray) -> Mesh:
    """The closed surface that points (N, 3) of a whole object lie on, or balls around them where there is none."""
    try:
        found = PointDistance(*outward(points)).mesh
    except InputError:  # they are too few, or all in one plane
        found = _balls(points)
    return remove_inner_shells(remove_floaters(found, CRUMB))


def _balls(points: np.ndarray) -> Mesh:
    """Closed around the points, a twentieth of their extent away, or of 1 where they have none."""
    low, high = points.min(axis=0), points.max(axis=0)
    radius = 0.05 * (float((high - low).max()) or 1.0)
    step = (float((high - low).max()) + 4 * radius) / BALLS
    index = np.indices([int(np.ceil(n)) + 1 for n in (high - low + 4 * radius) / step])
    places = np.moveaxis(index, 0, -1) * step + low - 2 * radius
    world_from_grid = np.diag([step, step, step, 1.0])
    world_from_grid[:3, 3] = low - 2 * radius
    return marching_cubes(cKDTree(points).query(places)[0] - radius, world_from_grid)


class Up(nn.Module):
    """A map twice as large, with what was seen at that size added before the ReLU."""

    def __init__(self, channels: int, seen: int, made: int) -> None:
        super().__init__()
        self.larger = nn.ConvTranspose2d(channels, made, 2, stride=2)
        self.skip = nn.Conv2d(seen, made, 3, padding=1)
        self.after = nn.Conv2d(made, made, 3, padding=1)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        return F.relu(self.after(F.relu(self.larger(x) + self.skip(seen))))


class Down(nn.Module):
    """A map half as large, with what was seen at that size added before the ReLU."""

    def __init__(self, channels: int, seen: int, made: int) -> None:
        super().__init__()
        self.smaller = nn.Conv2d(channels, made, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(seen, made, 3, padding=1)
        self.after = nn.Conv2d(made, made, 3, padding=1)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        return F.relu(self.after(F.relu(self.smaller(x) + self.skip(seen))))


def _places(side: int, like: Tensor) -> Tensor:
    """The points (side, side, 3) of the plane z = 0 where a map's pixels are seen."""
    axis = (torch.arange(side, device=like.device) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    return torch.stack((x, y, torch.zeros_like(x)), dim=-1)
