"""Mesh R-CNN (Gkioxari, Malik and Johnson 2019) for one object: voxels, their surface, and its refinement.

A picture becomes a frustum grid whose voxels stand behind its pixels (section 3.2), the grid a mesh of cubes, and
three stages of graph convolutions move its vertices by what the picture shows at their places (section 3.3).

Deviations: a small U-Net trained from nothing in place of ResNet-50, whose way up meets the finer maps again, so that
the voxels keep the picture's outline; their log odds are built on a front and a back that are predicted for each
pixel, and learn by these and a soft IoU beside the binary cross-entropy; voxels that touch along an edge or at a
corner alone get a neighbour more, so that the mesh is a closed manifold; a vertex also knows its normal and the
grid's value around it, because what is fetched from the picture is the same before and behind; neighbours are
averaged, not added; the cubes' corners are smoothed away before the first stage, and surfaces are kept smooth (Chamfer
distances alone are least when a surface of unsure depth is crumpled); Chamfer distances are not squared, and normals
compared with their sign.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...formats.mesh import Mesh
from . import mesh_loss, view
from .graph import GraphConvolution, Packed, neighbour_mean, pack, vert_align
from .occupancy import behind_outline, cubes, soft_iou, solid
from .predictor import Batch, Predictor
from .unet import GROUPS, UNet

_KNOWN = 7  # numbers of a vertex that are not fetched from the picture: its place, its normal, the grid's value
THRESHOLD = 0.5  # of a voxel's probability from which on it is filled
VOXELS_ALONE = 1 / 3  # of the training; meshes of voxels that know nothing teach nothing
MOST_VERTICES = 3500  # of a mesh that is trained on
REFINED = 4  # one object of so many is refined in each step: a mesh costs as much as several grids
SAMPLES = 1024  # points of each surface that are compared
STAGES = 3
LOSS_WEIGHTS = {"voxels": 1.0, "iou": 0.5, "ends": 1.0, "chamfer": 10.0, "normal": 0.3, "edge": 2.0, "laplacian": 10.0}
SMOOTHINGS = 6  # of the cubes' surface, half way to each vertex's neighbours


class VoxelBranch(nn.Module):
    """A map of the picture (B, C, R, R) to what lies behind each pixel: a front, a back, and R slices.

    A voxel's log odds are how far between the two it lies, in voxels, times a factor that is learnt, plus a number of
    its own. Of a thin thing whose depth is unsure, odds alone would spread until no voxel is likely; a front then
    stands in the middle of where it may be.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        last = nn.Conv2d(3 * channels, side + 2, 1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.layers = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.ReLU(), nn.Conv2d(channels, 3 * channels, 1),
                                    nn.ReLU(), last)
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The log odds (B, R, R, R), and z of front and back (B, 2, R, R)."""
        own, depth = self.layers(seen).float().split([self.side, 2], dim=1)
        middle, half = depth[:, :1], F.softplus(depth[:, 1:] - 1)
        z = (1 - (torch.arange(self.side, device=seen.device) + 0.5) * 2 / self.side)[:, None, None]
        inside = half.clamp(min=1 / self.side) - (z - middle).abs()  # what is thinner than a voxel is one all the same
        return own + self.factor * inside * self.side / 2, torch.cat((middle + half, middle - half), dim=1)


def ends_loss(ends: Tensor, filled: Tensor) -> Tensor:
    """How far fronts and backs (B, 2, R, R) are from those of frustum grids (B, R, R, R), where these hold anything."""
    side = filled.shape[1]
    front = 1 - filled.argmax(dim=1) * 2 / side
    back = filled.flip(1).argmax(dim=1) * 2 / side - 1
    wrong = (ends - torch.stack((front, back), dim=1)).abs().sum(dim=1)
    there = filled.amax(dim=1)
    return (wrong * there).sum() / there.sum().clamp(min=1)


class Stage(nn.Module):
    """One refinement: features of the picture at each vertex, three graph convolutions, and where to go from there."""

    def __init__(self, fetched: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.bottleneck = nn.Linear(fetched, hidden)
        self.layers = nn.ModuleList(
            GraphConvolution((hidden if number or first else 2 * hidden) + _KNOWN, hidden, normalised=True)
            for number in range(3))
        self.offset = nn.Linear(hidden + _KNOWN, 3)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def forward(self, fetched: Tensor, known: Tensor, hidden: Tensor | None, graph: Packed) -> tuple[Tensor, Tensor]:
        """How far each vertex goes (V, 3), within ±1, and its features (V, hidden).

        fetched: (V, C) of the picture; known: (V, 7) place, normal and the grid's value; hidden: of the stage before.
        """
        x = F.relu(self.bottleneck(fetched))
        x = x if hidden is None else torch.cat((x, hidden), dim=1)
        for layer in self.layers:
            x = F.relu(layer(torch.cat((x, known), dim=1), graph))
        return torch.tanh(self.offset(torch.cat((x, known), dim=1))), x


class Network(Predictor):
    """width: channels at a quarter of the picture's side, a multiple of 8; hidden: of a vertex."""

    method: ClassVar[str] = "mesh-rcnn"
    grid = view.SIDE // 4
    reach: ClassVar[float] = 0.4  # a wall between centres has no holes; refinement takes it back
    large: ClassVar[dict[str, Any]] = {"width": 128, "hidden": 128}

    def __init__(self, width: int = 48, hidden: int = 64) -> None:
        super().__init__(width=width, hidden=hidden)
        self.picture = UNet(width)
        self.voxels = VoxelBranch(width, self.grid)
        self.stages = nn.ModuleList(Stage(sum(self.picture.channels), hidden, not number) for number in range(STAGES))

    def loss(self, batch: Batch, fraction: float) -> tuple[Tensor, dict[str, float]]:
        maps = self.picture(batch.images[:, 0])
        logits, ends = self.voxels(maps[-1])
        parts = {"voxels": F.binary_cross_entropy_with_logits(logits, batch.filled),
                 "iou": 1 - soft_iou(logits.sigmoid(), batch.filled),
                 "ends": ends_loss(ends, batch.filled)}
        if fraction >= VOXELS_ALONE:
            parts |= self._mesh_losses(batch, maps, logits)
        total = torch.stack([LOSS_WEIGHTS[name] * part for name, part in parts.items()]).sum()
        return total, {name: part.item() for name, part in parts.items()}

    def _mesh_losses(self, batch: Batch, maps: list[Tensor], logits: Tensor) -> dict[str, Tensor]:
        """Of some of the objects: chosen anew in each step, and none whose voxels are still in crumbs."""
        chosen = torch.randperm(len(logits))[:max(1, len(logits) // REFINED)].tolist()
        meshes = [(number, mesh) for number in chosen
                  if len((mesh := coarse(logits[number], batch.images[number, 0])).vertices) <= MOST_VERTICES]
        if not meshes:
            return {}
        rows = torch.tensor([number for number, _ in meshes], device=logits.device)
        with torch.autocast(logits.device.type, enabled=False):  # places need more than 8 bits
            stages, graph = self._refine([mesh for _, mesh in meshes], [each[rows].float() for each in maps],
                                         logits[rows], batch.distance[rows])
        truth, normals = batch.points[rows, :SAMPLES], batch.normals[rows, :SAMPLES]
        parts: dict[str, list[Tensor]] = {"chamfer": [], "normal": [], "edge": [], "laplacian": []}
        for vertices in stages[1:]:
            points, facing = mesh_loss.sample_surface(vertices, graph, SAMPLES)
            matched = mesh_loss.match(points, truth)
            parts["chamfer"].append(mesh_loss.chamfer_l1_mean(matched))
            parts["normal"].append(mesh_loss.normal_loss(matched, facing, normals))
            parts["edge"].append(mesh_loss.edge_loss(vertices, graph))
            parts["laplacian"].append(mesh_loss.laplacian_loss(vertices, graph))
        return {name: torch.stack(values).mean() for name, values in parts.items()}

    def _refine(self, meshes: list[Mesh], maps: list[Tensor], logits: Tensor,
                distance: Tensor) -> tuple[list[Tensor], Packed]:
        """The vertices (V, 3) in the view frame before and after each stage, packed."""
        graph = pack([len(mesh.vertices) for mesh in meshes], [mesh.faces for mesh in meshes], logits.device)
        lattice = torch.from_numpy(np.concatenate([mesh.vertices for mesh in meshes])).to(logits.device)
        far = distance[graph.owner]
        # One vertex an object, since each has its own camera.
        vertices = view.unproject((lattice[:, None, :2] * lattice.new_tensor([1.0, -1.0])), lattice[:, None, 2], far)
        vertices = vertices[:, 0]
        for _ in range(SMOOTHINGS):
            vertices = (vertices + neighbour_mean(vertices, graph)) / 2
        stages, hidden = [vertices], None
        inside = logits.sigmoid()[:, None]
        for stage in self.stages:
            here = stages[-1].detach()  # where to fetch features from is not learnt
            places = view.project(here[:, None], far)[:, 0]
            value = vert_align([inside], torch.cat((places, -here[:, 2:]), dim=1), graph)
            known = torch.cat((here, vertex_normals(here, graph), value), dim=1)
            offset, hidden = stage(vert_align(maps, places, graph), known, hidden, graph)
            stages.append(stages[-1] + offset)
        return stages, graph

    @torch.no_grad()
    def predict(self, images: Tensor, distance: Tensor) -> Mesh:
        maps = self.picture(images[:1])
        logits, _ = self.voxels(maps[-1])
        mesh = coarse(logits[0], images[0])
        stages, _ = self._refine([mesh], maps, logits, distance.reshape(1))
        return Mesh(stages[-1].float().cpu().numpy(), mesh.faces, quads=mesh.quads)


def coarse(logits: Tensor, image: Tensor) -> Mesh:
    """The cubes of one frustum grid (D, H, W) behind its picture (6, S, S), as `cubes` places them."""
    alpha = F.adaptive_avg_pool2d(image[3:4], logits.shape[1])[0]
    probability = behind_outline(logits.detach().sigmoid().cpu().numpy(), alpha.cpu().numpy())
    return cubes(solid(probability, THRESHOLD))


def vertex_normals(vertices: Tensor, graph: Packed) -> Tensor:
    """(V, 3) of unit length: the mean of the faces' by area."""
    normal = mesh_loss.face_normals(vertices, graph.faces)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(0, graph.faces[:, corner], normal)
    return F.normalize(total, dim=1)
