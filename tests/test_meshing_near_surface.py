"""Only what lies near the surface is evaluated, and no cell that the dense grid shows is lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maquette.neural.evaluation.audit import audit
from maquette.neural.meshing import near_surface as module
from maquette.neural.meshing.marching_cubes import marching_cubes, triangulate
from maquette.neural.meshing.near_surface import lattice_around, near_surface
from maquette.recipes.errors import InputError


class Shape:
    """A function of x, y and z as a distance."""

    def __init__(self, function, *, lipschitz: float = 1.0, half: float | tuple[float, float, float] = 1.0) -> None:
        self.function, self.lipschitz = function, lipschitz
        self.box = np.array([-1, 1])[:, None] * np.broadcast_to(half, 3).astype(float)

    def __call__(self, points: Tensor) -> Tensor:
        return self.function(*points.unbind(-1))


def torus(lipschitz: float = 1.0) -> Shape:
    return Shape(lambda x, y, z: torch.hypot(torch.hypot(x, y) - 0.6, z) - 0.25, lipschitz=lipschitz,
                 half=(0.85, 0.85, 0.25))


def dense(shape: Shape, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    lattice = lattice_around(shape.box, resolution)
    index = np.moveaxis(np.indices(np.add(lattice.shape, 1)), 0, -1)
    points = index @ lattice.world_from_lattice[:3, :3] + lattice.world_from_lattice[:3, 3]
    return shape(torch.from_numpy(points.astype(np.float32))).numpy(), lattice.world_from_lattice


def crossed_cells(values: np.ndarray) -> set[tuple[int, ...]]:
    windows = np.lib.stride_tricks.sliding_window_view(values < 0, (2, 2, 2)).reshape(*np.subtract(values.shape, 1), 8)
    return set(map(tuple, np.argwhere(windows.any(-1) & ~windows.all(-1)).tolist()))


def assert_nothing_lost(shape: Shape, resolution: int) -> dict:
    cells, figures = near_surface(shape, resolution, device="cpu")
    values, _ = dense(shape, resolution)
    points = cells.points.numpy()
    assert {tuple(p) for p in points[cells.corners[:, 0].numpy()].tolist()} == crossed_cells(values)
    assert np.array_equal(cells.values.numpy(), values[tuple(points.T)])
    assert len(np.unique(points, axis=0)) == len(points)
    steps = points[cells.corners.numpy()] - points[cells.corners[:, :1].numpy()]
    assert (steps == module._OFFSETS).all()
    assert figures["points_missed"] == 0
    return figures


@pytest.mark.parametrize("lipschitz", [1.0, np.inf])
@pytest.mark.parametrize("resolution", [17, 64])
def test_a_torus_has_the_dense_grids_cells_and_values(lipschitz, resolution):
    assert_nothing_lost(torus(lipschitz), resolution)


def test_the_mesh_is_the_dense_grids_mesh():
    values, world_from_grid = dense(torus(), 48)
    whole = marching_cubes(values, world_from_grid)
    mesh = triangulate(near_surface(torus(), 48, device="cpu")[0])
    assert len(mesh.faces) == len(whole.faces)
    assert sorted(map(tuple, mesh.vertices.tolist())) == sorted(map(tuple, whole.vertices.tolist()))
    assert audit(mesh)["genus"] == 1


def test_slabs_meet_without_a_seam(monkeypatch):
    monkeypatch.setattr(module, "_TABLE", 1)  # two layers of cells each
    assert_nothing_lost(torus(), 40)
    figures = audit(triangulate(near_surface(torus(), 40, device="cpu")[0]))
    assert figures["genus"] == 1 and figures["open_edges"] == 0


@pytest.mark.parametrize("thickness", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_a_plate_thinner_than_a_cell_loses_no_cell_of_the_dense_grid(thickness, tilt):
    """A plate's two sides may both lie within one cell, far from every block's centre."""
    half = thickness / 64  # of a box of 2 in 64 cells, half the plate

    def plate(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        across = np.cos(tilt) * z + np.sin(tilt) * x - 0.01
        return torch.maximum(across.abs() - half, torch.hypot(x, y) - 0.7)
    assert_nothing_lost(Shape(plate), 64)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, np.inf]))
def test_unions_of_random_balls_are_closed_manifolds_with_nothing_lost(seed, lipschitz):
    random = np.random.default_rng(seed)
    centres = torch.from_numpy(random.uniform(-0.6, 0.6, (5, 3)).astype(np.float32))
    radii = torch.from_numpy(random.uniform(0.15, 0.35, 5).astype(np.float32))

    def balls(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        points = torch.stack((x, y, z), dim=-1)
        return ((points[..., None, :] - centres).norm(dim=-1) - radii).amin(dim=-1)
    shape = Shape(balls, lipschitz=lipschitz)
    assert_nothing_lost(shape, 40)
    figures = audit(triangulate(near_surface(shape, 40, device="cpu")[0]))
    assert not any(figures[name] for name in ("open_edges", "nonmanifold_edges", "flipped_edges",
                                              "nonmanifold_vertices", "zero_area_faces"))


def test_a_step_function_without_a_bound_is_followed_by_its_signs():
    box = Shape(lambda x, y, z: torch.sign(torch.maximum(torch.hypot(x, y) - 0.71, z.abs() - 0.52)), lipschitz=np.inf)
    assert_nothing_lost(box, 64)


def test_what_leaves_the_box_is_closed_within_the_lattice():
    mesh = triangulate(near_surface(Shape(lambda x, y, z: z - 0.2 * x), 32, device="cpu")[0])
    figures = audit(mesh)
    assert figures["open_edges"] == 0 and figures["genus"] == 0
    assert np.abs(mesh.vertices).max() < 1 + 2 * 2 / 32


def test_a_bound_that_is_not_true_shows_in_the_points_missed():
    shape = Shape(lambda x, y, z: 0.2 + torch.sin(9 * x) * torch.sin(9 * y) * torch.sin(9 * z), lipschitz=0.1)
    assert near_surface(shape, 64, device="cpu")[1]["points_missed"] > 0


def test_a_function_without_a_surface_gives_no_cells():
    cells, figures = near_surface(Shape(lambda x, y, z: torch.ones_like(x)), 32, device="cpu")
    assert len(cells.corners) == len(cells.points) == 0 and figures["cells_crossed"] == 0
    assert len(triangulate(cells).faces) == 0


def test_a_value_that_is_not_a_number_is_refused_with_its_place():
    with pytest.raises(InputError, match="not a number at"):
        near_surface(Shape(lambda x, y, z: x / 0 * 0), 32, device="cpu")


def test_infinite_values_are_far_outside():
    ball = Shape(lambda x, y, z: torch.where(x * x + y * y + z * z < 0.5, -0.1, torch.inf), lipschitz=np.inf)
    cells, _ = near_surface(ball, 32, device="cpu")
    assert audit(triangulate(cells))["genus"] == 0


def test_evaluations_are_counted_and_grow_with_the_surface_alone():
    calls = []

    def counted(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.sqrt(x * x + y * y + z * z) - 0.9
    figures = near_surface(Shape(counted, half=0.9), 64, device="cpu")[1]
    assert figures["evaluations"] == sum(calls) and max(calls) <= module._BATCH
    finer = near_surface(Shape(counted, half=0.9), 128, device="cpu")[1]
    assert 3.5 < finer["evaluations"] / figures["evaluations"] < 4.6
    assert finer["evaluations_share"] < 0.12


def test_the_lattice_is_cubic_with_two_cells_of_margin():
    lattice = lattice_around(np.array([[1.0, 0, 0], [3, 1, 0.5]]), 20)
    assert lattice.shape == (24, 14, 9)
    low, high = (lattice.world_from_lattice @ [*corner, 1] for corner in ((0, 0, 0), lattice.shape))
    assert np.allclose(low[:3], [0.8, -0.2, -0.2]) and np.allclose(high[:3], [3.2, 1.2, 0.7])


def test_progress_goes_up_to_one():
    seen: list[float] = []
    near_surface(torus(), 32, device="cpu", on_progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 1
