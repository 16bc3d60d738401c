"""Refining a predicted mesh until its silhouette is the picture's.

Three steps. Gradients through the rasterizer move the shape as a whole to where it is seen; what other connections
are needed for is carved (`meshing/carve.py`); and gradients again smooth it and meet the outline between the pixels.

A gradient step is that of Nicolet, Jacobson and Jakob 2021 (Large Steps in Inverse Rendering of Geometry): what is
optimised is not the displacements of the vertices but (I + λL) times them, so that the gradient, which exists at the
outline alone, is spread over the surface, and the shape moves along with its outline. What moves is the
displacement, so the shape's own details stay. Pictures go from coarse to fine: the outline is found from afar first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_matrix, csc_matrix, diags, identity
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from ...formats.mesh import Mesh
from ..meshing import topology
from ..meshing.carve import carve
from ..meshing.split import split_long_edges
from ..rendering.rasterizer import pixels_of, rasterize


class Stage(NamedTuple):
    """Gradient steps before a picture of `side` pixels; the first moves a vertex by about `length`."""

    side: int
    steps: int
    length: float
    spread: float  # λ: the gradient reaches about √λ edges far


COARSE = Stage(64, 40, 0.02, 60.0), Stage(128, 25, 0.006, 30.0)
FINE = (Stage(256, 40, 0.003, 3.0),)
CARVED = 256  # side of the picture that is carved by
EDGE = 0.08  # of the view frame: longer edges are halved before
MET = 0.97  # intersection over union of silhouettes that is asked for: from there on the fine steps alone are taken
SMOOTHINGS = 1  # after carving, against the traces of the lattice
DECAY = 0.9, 0.99  # of the first and second moment (Adam)
ALIKE = 5.0  # how much both halves of a symmetric shape are held to move alike
Progress = Callable[[float], None]


def fit(mesh: Mesh, rgba: np.ndarray, distance: float, *, mirror: tuple[np.ndarray, float] | None = None,
        on_progress: Progress = lambda fraction: None) -> Mesh:
    """The mesh in the view frame, changed so that it is seen where the crop (S, S, 4), premultiplied, is opaque.

    mirror: the unit normal (3,) and the offset from the origin of a plane that the shape is symmetric about: both
    sides are then moved alike. Vertices and faces alone are given back; what was closed is closed.
    """
    alpha = torch.from_numpy(np.ascontiguousarray(rgba[..., 3], np.float32))[None, None]
    mesh = Mesh(mesh.vertices, mesh.faces)
    if silhouette_iou(mesh, rgba, distance) < MET:
        mesh = _moved(mesh, alpha, distance, COARSE, mirror, lambda share: on_progress(0.5 * share))
    if silhouette_iou(mesh, rgba, distance) < MET:
        small = functional.interpolate(alpha, (CARVED, CARVED), mode="area")[0, 0].double().numpy()
        mesh = _smoothed(carve(mesh, small, distance))
    return _moved(mesh, alpha, distance, FINE, mirror, lambda share: on_progress(0.7 + 0.3 * share))


def silhouette_iou(mesh: Mesh, rgba: np.ndarray, distance: float) -> float:
    """Intersection over union of what of the crop (S, S, 4) is at least half opaque and of what the mesh covers."""
    side = len(rgba)
    corners = pixels_of(torch.from_numpy(mesh.vertices)[None], torch.tensor([distance]), side)
    faces = torch.from_numpy(mesh.faces).long()
    seen = (rasterize(corners[:, faces], side, side, gradient="none").face[0] >= 0).numpy()
    given = rgba[..., 3] >= 0.5
    return float((seen & given).sum() / max((seen | given).sum(), 1))


class _Solve(torch.autograd.Function):
    """Values (V, 3) divided by the symmetric matrix whose factors are given."""

    @staticmethod
    def forward(context: Any, values: Tensor, factors: Any) -> Tensor:
        context.factors = factors
        return torch.from_numpy(factors.solve(values.double().numpy())).float()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return torch.from_numpy(context.factors.solve(gradient.double().numpy())).float(), None


def _moved(mesh: Mesh, alpha: Tensor, distance: float, stages: tuple[Stage, ...],
           mirror: tuple[np.ndarray, float] | None, on_progress: Progress) -> Mesh:
    """The mesh after gradient steps toward the silhouette (1, 1, S, S)."""
    mesh = split_long_edges(mesh, EDGE)
    faces, place = torch.from_numpy(mesh.faces).long(), torch.from_numpy(mesh.vertices)
    laplacian, camera = _laplacian(mesh), torch.tensor([distance])
    pairs = None if mirror is None else _pairs(mesh, *mirror)
    total, done = sum(stage.steps for stage in stages), 0
    for side, steps, length, spread in stages:
        factors = splu(csc_matrix(identity(len(place)) + spread * laplacian), permc_spec="MMD_AT_PLUS_A",
                       diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        target = functional.interpolate(alpha, (side, side), mode="area")[0]
        first, second = torch.zeros_like(place), 0.0
        moved = torch.zeros_like(place, requires_grad=True)  # (I + λL) times the displacement
        for step in range(1, steps + 1):
            displacement = _Solve.apply(moved, factors)
            corners = pixels_of((place + displacement)[None], camera, side)[:, faces]
            loss = (rasterize(corners, side, side).alpha - target).square().mean()
            if pairs is not None:
                one, other, turn = pairs
                loss = loss + ALIKE * (displacement[one] - displacement[other] @ turn).square().sum(dim=1).mean()
            gradient, = torch.autograd.grad(loss, moved)
            with torch.no_grad():
                first = DECAY[0] * first + (1 - DECAY[0]) * gradient
                # One second moment for all, or the direction would be lost (their "AdamUniform").
                second = DECAY[1] * second + (1 - DECAY[1]) * gradient.square().max().item()
                rate = length * (1 - 0.9 * step / steps) * math.sqrt(1 - DECAY[1] ** step) / (1 - DECAY[0] ** step)
                moved -= rate / (math.sqrt(second) + 1e-20) * first
            done += 1
            on_progress(done / total)
        with torch.no_grad():
            place = place + _Solve.apply(moved, factors)
    return replace(mesh, vertices=place.numpy())


def _laplacian(mesh: Mesh) -> csc_matrix:
    """The combinatorial Laplacian (V, V)."""
    ends = topology.edges(mesh.faces).ends
    links = coo_matrix((np.ones(len(ends)), ends.T), shape=(len(mesh.vertices),) * 2)
    links = links + links.T
    return csc_matrix(diags(np.asarray(links.sum(axis=1)).reshape(-1)) - links)


def _smoothed(mesh: Mesh) -> Mesh:
    """The mesh without its finest steps, and hardly smaller (Taubin 1995, λ = 0.5 and μ = −0.53)."""
    laplacian = _laplacian(mesh)
    mean = diags(1 / laplacian.diagonal()) @ laplacian
    vertices = mesh.vertices.astype(np.float64)
    for _ in range(SMOOTHINGS):
        for share in (0.5, -0.53):
            vertices = vertices - share * (mean @ vertices)
    return replace(mesh, vertices=vertices)


def _pairs(mesh: Mesh, normal: np.ndarray, offset: float) -> tuple[Tensor, Tensor, Tensor]:
    """Vertices (P,) and those (P,) that lie nearest to their mirror images, if any do; and the mirroring (3, 3)."""
    vertices = mesh.vertices.astype(np.float64)
    images = vertices - 2 * (vertices @ normal - offset)[:, None] * normal
    away, other = cKDTree(vertices).query(images, distance_upper_bound=EDGE)
    one = np.flatnonzero(np.isfinite(away))
    turn = np.eye(3) - 2 * np.outer(normal, normal)
    return torch.from_numpy(one), torch.from_numpy(other[one]), torch.from_numpy(turn).float()
