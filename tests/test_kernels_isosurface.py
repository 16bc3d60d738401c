"""The fused passes of marching cubes give the reference's mesh, on grids and on cells in any order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maquette.neural.kernels import isosurface_fused, isosurface_reference
from maquette.neural.kernels.isosurface_table import CORNERS, EDGES, FACES, table

OBLIQUE = np.array([[0.5, 0.1, 0, 3], [0, 0.7, -0.2, -1], [0.1, 0, 0.4, 2]])
BODIES = (isosurface_fused, isosurface_reference)


def some_grid(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def assert_same(one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert torch.equal(one[1], other[1])
    assert one[0].shape == other[0].shape and torch.allclose(one[0], other[0], atol=1e-5)


def every_cell(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points, values and corners of a grid as cells that share their corners."""
    shape = values.shape
    points = torch.from_numpy(np.stack(np.unravel_index(np.arange(values.numel()), shape), axis=1).astype(np.int32))
    index = np.arange(values.numel()).reshape(shape)
    corners = np.stack([index[x:shape[0] - 1 + x, y:shape[1] - 1 + y, z:shape[2] - 1 + z].reshape(-1)
                        for x, y, z in CORNERS], axis=1)
    return points, values.reshape(-1), torch.from_numpy(corners.astype(np.int32))


@pytest.mark.parametrize("shape", [(2, 2, 2), (1, 5, 5), (3, 4, 64), (4, 3, 65), (5, 6, 130), (9, 2, 63)])
@pytest.mark.parametrize("level", [0.0, 0.3])
def test_a_grid_of_noise_in_rows_of_one_two_and_three_words(shape, level):
    values = some_grid(*shape)
    fused, plain = (body.grid_surface(values, level, OBLIQUE) for body in BODIES)
    assert_same(fused, plain)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.int8, st.tuples(*[st.integers(2, 5)] * 3), elements=st.integers(-2, 2)))
def test_a_grid_of_whole_numbers_where_crossings_crowd_at_corners(values):
    values = torch.from_numpy(values.astype(np.float32))
    grid = isosurface_fused.grid_surface(values, 0.0, OBLIQUE)
    assert_same(grid, isosurface_reference.grid_surface(values, 0.0, OBLIQUE))
    for body in BODIES:
        assert_same(grid, body.cells_surface(*every_cell(values), OBLIQUE))


def test_infinite_values_pull_the_surface_to_the_other_end():
    values = torch.full((4, 4, 4), torch.inf)
    values[1:3, 1:3, 1:3] = -1
    for body in BODIES:
        vertices, _ = body.grid_surface(values, 0.0, np.eye(4)[:3])
        assert torch.isfinite(vertices).all() and vertices.min() > 0.99 and vertices.max() < 2.01


def test_cells_in_any_order_give_the_same_surface():
    points, values, corners = every_cell(some_grid(6, 7, 8))
    vertices, faces = isosurface_fused.cells_surface(points, values, corners, OBLIQUE)
    mixed = torch.randperm(len(corners), generator=torch.Generator().manual_seed(0))
    for body in BODIES:
        again, its_faces = body.cells_surface(points, values, corners[mixed], OBLIQUE)

        def triangles(v, f):
            return sorted(map(tuple, v[f.long()].reshape(-1, 9).numpy().round(4).tolist()))
        assert triangles(vertices, faces) == triangles(again, its_faces)


def test_a_level_that_float32_does_not_know_is_compared_exactly():
    level = 0.1  # float32's 0.1 is greater
    values = torch.tensor([[[0.1, 1.0], [1, 1]], [[1, 1], [1, 1]]])
    for body in BODIES:
        assert len(body.grid_surface(values, level, np.eye(4)[:3])[1]) == 0
        assert len(body.grid_surface(values, float(np.float32(0.1)) + 1e-12, np.eye(4)[:3])[1]) == 1


def test_no_cell_has_more_than_one_centre_and_none_more_than_twelve_triangles():
    count = np.diff(table().first)
    assert count.max() == 12 and len(table().loops) == (table().centre >= 0).sum()
    assert count[1] == 1 and count[0] == count[255] == 0


def test_edges_run_along_their_axis_and_faces_list_corners_across():
    for e, (low, high) in enumerate(EDGES.tolist()):
        assert high - low == 1 << e // 4
    for a, b, c, d in FACES.tolist():
        assert (CORNERS[a] + CORNERS[d] == CORNERS[b] + CORNERS[c]).all()
