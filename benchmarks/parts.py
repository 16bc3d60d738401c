"""The parts of networks on meshes beside PyTorch3D's, where it is installed: the same numbers, and how long they take.

    python3 run.py bench parts

Each row is one part on one random input: the greatest difference of the values, that of the gradients, both relative
to the greatest value, and the least milliseconds of five runs, forward and backward where there is a gradient. Ours
differ on purpose in two conventions, which are undone before the comparison: `vert_align` takes a picture's borders
for ±1 (PyTorch3D: the outer pixels' centres), and `cubify` orders a grid X, Y, Z (PyTorch3D: Z, Y, X).
PyTorch3D has no wheel for this Python: build its CPU extension from source (FORCE_CPU=1).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as a job's worker has it; it is read when torch is loaded

import numpy as np
import torch
import trimesh
from torch import Tensor

from maquette.neural.kernels.dispatch import threads
from maquette.neural.meshing.cubify import cubify
from maquette.neural.predictors import mesh_loss
from maquette.neural.predictors.graph import GraphConvolution, pack, vert_align

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "parts.json"
REPEATS = 5
CPU = torch.device("cpu")


def graph_convolution() -> tuple[Any, ...]:
    """Mesh R-CNN's layer on a ball of 2,562 vertices with 128 features."""
    from pytorch3d.ops import GraphConv

    ball = trimesh.creation.icosphere(4)
    graph = pack([len(ball.vertices)], [ball.faces], CPU)
    own, peer = GraphConvolution(128, 64), GraphConv(128, 64)
    peer.w0.load_state_dict(own.own.state_dict())
    peer.w1.load_state_dict(own.other.state_dict())
    features = torch.randn(len(ball.vertices), 128)
    return features, lambda x: own(x, graph), lambda x: peer(x, graph.edges)


def aligned() -> tuple[Any, ...]:
    """Two maps at 2,562 places within the outer pixels' centres, whose convention is PyTorch3D's."""
    from pytorch3d.ops import vert_align as peer

    sides = (32, 16)
    maps = torch.cat([torch.randn(64 * side * side) for side in sides])
    places = torch.rand(2562, 2) * 1.8 - 0.9
    graph = pack([len(places)], [np.zeros((0, 3), np.int64)], CPU)

    def unpacked(flat: Tensor) -> list[Tensor]:
        split = flat.split([64 * side * side for side in sides])
        return [part.reshape(1, 64, side, side) for part, side in zip(split, sides, strict=True)]

    def other(flat: Tensor) -> Tensor:
        return torch.cat([peer([each], (places * side / (side - 1))[None])[0]
                          for each, side in zip(unpacked(flat), sides, strict=True)], dim=1)

    return maps, lambda flat: vert_align(unpacked(flat), places, graph), other


def chamfer() -> tuple[Any, ...]:
    """2,048 points and 2,048 others, squared, both ways added."""
    from pytorch3d.loss import chamfer_distance

    truth = torch.randn(1, 2048, 3)
    return (torch.randn(1, 2048, 3), lambda x: mesh_loss.chamfer_l2sq_sum(mesh_loss.match(x, truth)),
            lambda x: chamfer_distance(x, truth)[0])


def cubes() -> tuple[Any, ...]:
    """A grid of 32³, a third of it filled: each triangle's square and side by its middle and its normal, sorted.

    Squares may be cut by either diagonal; its middle is the square's.
    """
    from pytorch3d.ops import cubify as peer

    def sorted_faces(vertices: np.ndarray, faces: np.ndarray) -> Tensor:
        corners = vertices[faces].astype(np.float64)
        low, high = corners.min(axis=1), corners.max(axis=1)
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        found = np.round(np.hstack(((low + high) / 2, normals)), 5)
        return torch.from_numpy(found[np.lexsort(found.T)])

    def other(grid: Tensor) -> Tensor:
        mesh = peer(grid.permute(2, 1, 0)[None], 0.67, align="corner")
        return sorted_faces(mesh.verts_packed().numpy(), mesh.faces_packed().numpy())

    def own(grid: Tensor) -> Tensor:
        mesh = cubify(grid.numpy(), 0.67, "corner")
        return sorted_faces(mesh.vertices, mesh.faces)

    return torch.rand(32, 32, 32), own, other


PARTS = {"graph convolution": graph_convolution, "vert_align": aligned, "chamfer": chamfer, "cubify": cubes}


def run(make: Callable[[Tensor], Tensor], given: Tensor, differentiable: bool) -> tuple[Tensor, Tensor | None, float]:
    """The value, the gradient of its square's sum, and the least milliseconds of both."""
    times = []
    for _ in range(REPEATS):
        x = given.clone().requires_grad_(differentiable)
        began = time.perf_counter()
        value = make(x)
        if differentiable:
            value.square().sum().backward()
        times.append(1e3 * (time.perf_counter() - began))
    return value.detach(), x.grad, min(times)


def apart(one: Tensor | None, other: Tensor | None) -> float | None:
    if one is None or other is None:
        return None
    if one.shape != other.shape:
        return float("inf")
    return ((one - other).abs().max() / other.abs().max()).item()


def main(words: list[str]) -> None:
    print(f"cpu, {threads()} threads, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    rows = []
    for name, part in PARTS.items():
        torch.manual_seed(0)
        try:
            given, own, peer = part()
        except ImportError as problem:
            sys.exit(f"PyTorch3D: not installed ({problem}); there is nothing to compare with")
        mine, theirs = run(own, given, name != "cubify"), run(peer, given, name != "cubify")
        row = {"part": name, "value": apart(mine[0], theirs[0]), "gradient": apart(mine[1], theirs[1]),
               "ms": mine[2], "pytorch3d_ms": theirs[2]}
        rows.append(row)
        print("  ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                        for key, value in row.items() if value is not None))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"device": "cpu", "threads": threads(), "rows": rows}, indent=1) + "\n")
    print(f"written to {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
