"""Surfaces that pass into each other share one mesh where they can, and say so where they can't."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from maquette.formats.mesh import Mesh
from maquette.neural.evaluation.audit import audit
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.meshing.morph import shared_topology

CELL = 2 / 31


@dataclass(frozen=True)
class Function:
    of: Callable[[torch.Tensor], torch.Tensor]
    lipschitz: float = float("inf")

    @property
    def box(self) -> np.ndarray:
        return np.array([[-1.0] * 3, [1.0] * 3])

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return self.of(points)


def ellipsoid(x: float, y: float, z: float) -> Function:
    axes = torch.tensor([x, y, z])
    return Function(lambda p: ((p / axes).norm(dim=1) - 1) * min(x, y, z))


def balls(apart: float) -> Function:
    """Two balls of radius 0.4 that run into each other where their centres are less than 0.8 apart."""
    shift = torch.tensor([apart / 2, 0, 0])
    return Function(lambda p: torch.minimum((p - shift).norm(dim=1), (p + shift).norm(dim=1)) - 0.4)


def extracted(function: Function) -> Mesh:
    axis = torch.linspace(-1, 1, 32)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    world_from_grid = np.diag([CELL, CELL, CELL, 1.0])
    world_from_grid[:3, 3] = -1
    return marching_cubes(function(points).reshape(32, 32, 32).numpy(), world_from_grid)


def test_a_ball_that_becomes_an_ellipsoid_keeps_its_faces_and_lies_on_each_step() -> None:
    steps = [ellipsoid(0.5 + 0.05 * i, 0.5, 0.5 - 0.04 * i) for i in range(6)]
    found = shared_topology([extracted(step) for step in steps], steps, CELL)
    assert found is not None
    vertices, faces = found
    assert vertices.shape[0] == 6 and vertices.dtype == np.float32 and faces.dtype == np.int32
    for step, here in zip(steps, vertices, strict=True):
        assert step(torch.from_numpy(here)).abs().max() < 0.1 * CELL
        figures = audit(Mesh(here, faces))
        assert figures["genus"] == 0 and figures["flipped_edges"] == 0
        np.testing.assert_allclose(np.ptp(here, axis=0), np.ptp(extracted(step).vertices, axis=0), atol=CELL)


def test_steps_that_fall_apart_share_no_mesh() -> None:
    steps = [balls(apart) for apart in (0.4, 0.7, 1.0)]
    assert shared_topology([extracted(step) for step in steps], steps, CELL) is None


def test_what_grows_out_of_nothing_is_not_called_shared() -> None:
    """The same number of parts and handles, but the second ball of the last step is a new one far away."""
    steps = [ellipsoid(0.3, 0.3, 0.3), Function(lambda p: (p - torch.tensor([0.6, 0.6, 0.6])).norm(dim=1) - 0.3)]
    meshes = [extracted(step) for step in steps]
    far = Function(lambda p: torch.where(p.sum(dim=1) > 0.9, steps[1](p), torch.ones(len(p))))
    assert shared_topology(meshes, [steps[0], far], CELL) is None
