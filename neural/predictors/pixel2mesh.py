"""Pixel2Mesh (Wang et al. 2018): an ellipsoid that three blocks of graph convolutions deform, finer after each.

The losses are those of the authors' code, whose weights it has with them: Chamfer between vertices and true points,
the lengths of edges and their angle to the true normals, and how much a block bends and moves what it is given.

Deviations: a small U-Net trained from nothing in place of VGG-16; six graph convolutions a block in place of fourteen;
the view frame in place of the renderer's, so the ellipsoid is a sphere about the origin; a block predicts how far a
vertex goes and not where to, so that it begins at the template.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...formats.mesh import Mesh
from . import mesh_loss, view
from .graph import GraphConvolution, Packed, ellipsoid, pack, unpool, vert_align
from .predictor import Batch, Predictor
from .unet import UNet

RADIUS = 0.6  # of the template in the view frame
LEVELS, RESIDUALS = 3, 2  # blocks, and pairs of convolutions in each
BACK = 1.0, 0.55  # weights of the true points' distances and of the vertices'
# Beside Chamfer distances, which are ten times as in the paper's proportions so that gradients are of order 1. Objects
# are three times as large as there, which lengths know and angles do not.
LOSS_WEIGHTS = {"chamfer": 10.0, "edge": 1.0, "normal": 0.015, "laplacian": 5.0, "move": 0.33}
FIRST_LAPLACIAN = 0.1  # times as much in the first block, which is to bend


class Block(nn.Module):
    """Graph convolutions, every second of which is averaged with what came before them, and how far vertices go."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.first = GraphConvolution(inputs, hidden, normalised=True)
        self.middle = nn.ModuleList(GraphConvolution(hidden, hidden, normalised=True) for _ in range(2 * RESIDUALS))
        self.last = GraphConvolution(hidden, 3, normalised=True, spread=1e-3)

    def forward(self, features: Tensor, graph: Packed) -> tuple[Tensor, Tensor]:
        x = F.relu(self.first(features, graph))
        for one, other in zip(self.middle[::2], self.middle[1::2], strict=True):
            x = (x + F.relu(other(F.relu(one(x, graph)), graph))) / 2
        return self.last(x, graph), x


class Network(Predictor):
    """width: channels at a quarter of the picture's side, a multiple of 8; hidden: of a vertex."""

    method: ClassVar[str] = "pixel2mesh"
    large: ClassVar[dict[str, Any]] = {"width": 128, "hidden": 192}

    def __init__(self, width: int = 40, hidden: int = 48) -> None:
        super().__init__(width=width, hidden=hidden)
        self.picture = UNet(width)
        seen = sum(self.picture.channels) + 3
        self.blocks = nn.ModuleList(Block(seen + (hidden if number else 0), hidden) for number in range(LEVELS))

    def loss(self, batch: Batch, fraction: float) -> tuple[Tensor, dict[str, float]]:
        parts = dict.fromkeys(LOSS_WEIGHTS, torch.zeros((), device=batch.points.device))
        for level, (before, after, graph) in enumerate(self._deform(batch.images[:, 0], batch.distance)):
            for name, part in _losses(level, before, after, graph, batch).items():
                parts[name] = parts[name] + part
        total = torch.stack([LOSS_WEIGHTS[name] * part for name, part in parts.items()]).sum()
        return total, {name: part.item() for name, part in parts.items()}

    def _deform(self, images: Tensor, distance: Tensor) -> list[tuple[Tensor, Tensor, Packed]]:
        """Each block's vertices before and after it (B · V, 3), packed."""
        count = len(images)
        levels: list[tuple[Tensor, Tensor, Packed]] = []
        maps = self.picture(images)
        graphs = templates(count, images.device)
        vertices = RADIUS * torch.from_numpy(ellipsoid()[0]).to(images.device).repeat(count, 1)
        hidden = vertices.new_zeros(len(vertices), 0)
        for block, graph in zip(self.blocks, graphs, strict=True):
            if levels:
                edges = levels[-1][2].edges[:len(levels[-1][2].edges) // count]
                vertices, hidden = (unpool(each.reshape(count, -1, each.shape[1]), edges).flatten(0, 1)
                                    for each in (vertices, hidden))
            with torch.autocast(images.device.type, enabled=False):  # places need more than 8 bits
                here = vertices.detach()
                places = view.project(here.reshape(count, -1, 3), distance).flatten(0, 1)
                fetched = vert_align([each.float() for each in maps], places, graph)
            offset, hidden = block(torch.cat((fetched, here, hidden), dim=1), graph)
            levels.append((vertices, vertices + offset.float(), graph))
            vertices = levels[-1][1]
        return levels

    @torch.no_grad()
    def predict(self, images: Tensor, distance: Tensor) -> Mesh:
        _, vertices, graph = self._deform(images[:1], distance.reshape(1))[-1]
        return Mesh(vertices.float().cpu().numpy(), graph.faces.cpu().numpy())


@lru_cache(maxsize=2)
def templates(count: int, device: torch.device) -> list[Packed]:
    """The template's three levels, `count` times each."""
    return [pack([int(faces.max()) + 1] * count, [faces] * count, device) for faces in ellipsoid()[1]]


def _losses(level: int, before: Tensor, after: Tensor, graph: Packed, batch: Batch) -> dict[str, Tensor]:
    matched = mesh_loss.match(after.reshape(graph.count, -1, 3), batch.points)
    bent = mesh_loss.laplacian(after, graph) - mesh_loss.laplacian(before, graph)
    normals = batch.normals.gather(1, matched.there_index[..., None].expand(-1, -1, 3)).flatten(0, 1)
    start, end = graph.edges.T
    along = F.normalize(after.index_select(0, start) - after.index_select(0, end), dim=1)
    return {"chamfer": BACK[0] * matched.back.mean() + BACK[1] * matched.there.mean(),
            "edge": mesh_loss.edge_loss(after, graph),
            "normal": (along * normals[start]).sum(dim=1).abs().mean(),
            "laplacian": bent.square().sum(dim=1).mean() * (1.0 if level else FIRST_LAPLACIAN),
            "move": (after - before).square().sum(dim=1).mean() if level else after.new_zeros(())}
