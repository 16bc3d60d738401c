"""How far predicted meshes are from surfaces that are known by points, and how smooth they are; all differentiable."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor

from .graph import Packed, neighbour_mean

_SMALL = 1e-12  # square of a distance below which its root has no slope


class Matched(NamedTuple):
    """Two point sets of each object and the nearest of the other; the indices have no gradient, the squares have."""

    there: Tensor  # (B, P) squared distances from the prediction's points to the nearest true ones
    back: Tensor  # (B, Q) and from the true points to the nearest predicted ones
    there_index: Tensor  # (B, P) int64 which ones
    back_index: Tensor  # (B, Q) int64


def sample_surface(vertices: Tensor, graph: Packed, count: int) -> tuple[Tensor, Tensor]:
    """`count` points of each mesh's surface, evenly by area, and the normals of their faces: (B, count, 3) each.

    Differentiable in the vertices (V, 3); which face a point lies on, and where in it, is not.
    """
    device, meshes = vertices.device, graph.count
    with torch.no_grad():
        total = torch.cumsum(face_normals(vertices, graph.faces).norm(dim=1).double() + 1e-12, 0)
        owner = graph.owner[graph.faces[:, 0]]
        last = torch.searchsorted(owner, torch.arange(meshes, device=device), right=True) - 1
        high = total[last]
        low = torch.cat((high.new_zeros(1), high[:-1]))
        share = (torch.arange(count, device=device) + torch.rand(meshes, count, device=device)) / count
        face = torch.searchsorted(total, low[:, None] + share * (high - low)[:, None], right=True)
        faces = graph.faces[face.minimum(last[:, None])]
        u, v = torch.rand(2, meshes, count, 1, device=device)
        beyond = u + v > 1
        u, v = torch.where(beyond, 1 - u, u), torch.where(beyond, 1 - v, v)
    a, b, c = vertices.index_select(0, faces.flatten()).reshape(meshes, count, 3, 3).unbind(dim=2)
    normal = F.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    return a + u * (b - a) + v * (c - a), normal


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Normals (F, 3), outward, as long as twice the faces' areas."""
    a, b, c = vertices[faces].unbind(dim=1)
    return torch.linalg.cross(b - a, c - a)


@torch.no_grad()
def nearest(points: Tensor, others: Tensor) -> Tensor:
    """Which of the others (B, Q, 3) is nearest to each of the points (B, P, 3): (B, P) int64."""
    if points.device.type != "cpu":
        return torch.stack([torch.cdist(one, other).argmin(dim=1) for one, other in zip(points, others, strict=True)])
    found = [cKDTree(other).query(one)[1] for one, other in zip(points.numpy(), others.numpy(), strict=True)]
    return torch.from_numpy(np.stack(found)).long()


def match(points: Tensor, truth: Tensor) -> Matched:
    """Match predicted points (B, P, 3) and true ones (B, Q, 3) both ways."""
    there, back = nearest(points.detach(), truth), nearest(truth, points.detach())
    return Matched((points - _rows(truth, there)).square().sum(dim=-1),
                   (truth - _rows(points, back)).square().sum(dim=-1), there, back)


def chamfer_l2sq_sum(matched: Matched) -> Tensor:
    """Both ways' mean squared distances, added: PyTorch3D's, Mesh R-CNN's."""
    return matched.there.mean() + matched.back.mean()


def chamfer_l1_mean(matched: Matched) -> Tensor:
    """The mean of both ways' mean distances, not squared."""
    return ((matched.there + _SMALL).sqrt().mean() + (matched.back + _SMALL).sqrt().mean()) / 2


def normal_loss(matched: Matched, normals: Tensor, truth: Tensor) -> Tensor:
    """1 − the mean cosine between matched normals (B, P, 3) and true ones (B, Q, 3), both ways.

    Mesh R-CNN's is the absolute value, which a surface that is folded over meets as well.
    """
    there = (normals * _rows(truth, matched.there_index)).sum(dim=-1)
    back = (truth * _rows(normals, matched.back_index)).sum(dim=-1)
    return 1 - (there.mean() + back.mean()) / 2


def edge_loss(vertices: Tensor, graph: Packed) -> Tensor:
    """The mean squared length of each mesh's edges, averaged over the meshes."""
    start, end = (vertices.index_select(0, ends) for ends in graph.edges.T)
    return mean_by_mesh((start - end).square().sum(dim=1), graph.owner[graph.edges[:, 0]], graph.count)


def laplacian(vertices: Tensor, graph: Packed) -> Tensor:
    """How far each vertex is from the mean of its neighbours, (V, 3): the uniform Laplacian."""
    return vertices - neighbour_mean(vertices, graph)


def laplacian_loss(vertices: Tensor, graph: Packed) -> Tensor:
    """The mean length of each mesh's Laplacian, averaged over the meshes."""
    square = laplacian(vertices, graph).square().sum(dim=1)
    return mean_by_mesh((square + _SMALL).sqrt(), graph.owner, graph.count)


def mean_by_mesh(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """The mean over `count` meshes of the mean of the values (N,) that each owns; meshes own one at least."""
    size = torch.bincount(owner, minlength=count)
    return (values / size[owner]).sum() / count


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows (B, P, 3) of values (B, Q, 3) by their numbers (B, P)."""
    return values.gather(1, index[..., None].expand(-1, -1, 3))
