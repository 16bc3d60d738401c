"""The fused loops over triangles give what the plain references give."""

import numpy as np
import pytest

from maquette.neural.kernels import closest_reference, columns_fused, columns_reference
from maquette.neural.kernels.closest import closest_triangles
from maquette.neural.kernels.closest_tree import TriangleTree
from maquette.neural.kernels.columns import Columns, column_windings, inside_another


def test_closest_point_of_one_triangle_in_each_region():
    triangle = np.array([[[0, 0, 0], [4, 0, 0], [0, 4, 0]]], float)
    # Above the inside; beyond a corner (3-4-5); beyond a side; beyond the long side, whose distance is 4/√2.
    points = np.array([[1, 1, 2], [-3, -4, 0], [2, -3, 4], [4, 4, 0]], float)
    for method in (closest_triangles, closest_reference.closest_triangles):
        distance, face = method(points, TriangleTree(triangle))
        assert np.allclose(distance, [2, 5, 5, 4 / np.sqrt(2)])
        assert (face == 0).all()


@pytest.mark.parametrize("count", [1, 3, 5, 200])
def test_tree_finds_what_trying_all_triangles_finds(count):
    rng = np.random.default_rng(count)
    triangles = rng.normal(size=(count, 1, 3)) + 0.2 * rng.normal(size=(count, 3, 3))
    triangles[::7, 2] = triangles[::7, 1]  # segments
    triangles[::11, 1:] = triangles[::11, :1]  # points
    points = 2 * rng.normal(size=(300, 3))
    fast, face = closest_triangles(points, triangles)
    slow, _ = closest_reference.closest_triangles(points, TriangleTree(triangles))
    assert np.allclose(fast, slow, atol=1e-12)
    assert np.allclose(np.sqrt(closest_reference.squared_distances(points, triangles[face])), slow, atol=1e-9)


def box(low, high) -> np.ndarray:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * np.subtract(high, low) + low
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners[np.array([[(a, b, c), (a, c, d)] for a, b, c, d in quads]).reshape(-1, 3)].astype(float)


def test_winding_of_a_box_through_lattice_points_counts_each_column_once():
    winding = column_windings(box((1, 1, 0.5), (4, 3, 2.5)), (6, 6, 6))
    assert set(np.unique(winding)) == {0, 1}
    assert winding.sum() == 3 * 2 * 2  # columns on the box's border belong to one side only


def test_windings_equal_the_reference_where_points_lie_on_edges_and_corners():
    rng = np.random.default_rng(0)
    triangles = rng.integers(0, 9, (60, 3, 3)).astype(float)
    fast, slow = (np.stack(body.column_crossings(triangles, 8, 9)) for body in (columns_fused, columns_reference))
    assert fast.shape == slow.shape and np.allclose(fast[:, np.lexsort(fast)], slow[:, np.lexsort(slow)])
    # The winding number at a point is the sum of the steps at and below it.
    columns, heights, steps = slow
    grid = Columns(triangles, (8, 9, 7))
    points = np.argwhere(np.ones((8, 9, 7), bool))
    summed = [steps[(columns == x * 9 + y) & (heights <= z)].sum() for x, y, z in points]
    assert np.array_equal(grid.windings(points), summed) and np.array_equal(grid.grid().reshape(-1), summed)
    assert not grid.windings(np.array([[-1, 0, 0], [8, 0, 0], [0, 0, 7]])).any()


def test_a_point_is_inside_another_groups_box_but_never_inside_its_own():
    vertices = np.concatenate((box((0, 0, 0), (9, 9, 9)), box((2, 2, 2), (4, 4, 4)))).reshape(-1, 3)
    faces = np.arange(len(vertices)).reshape(-1, 3)
    group = np.repeat([0, 1], 12)
    points, own = np.array([[3, 3, 3], [3, 3, 3], [3, 3, 12], [1, 1, 1]], float), np.array([1, 0, 1, 0])
    for method in (inside_another, columns_reference.inside_another):
        assert method(points, own, vertices, faces, group).tolist() == [True, True, False, False]
