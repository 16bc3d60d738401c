"""Winding numbers: by hand, by the exact solid angles, and fast."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.neural.kernels import winding_reference
from maquette.neural.kernels.closest import closest_triangles
from maquette.neural.kernels.closest_tree import TriangleTree, morton
from maquette.neural.kernels.winding import WindingTree, winding_numbers, winding_slopes

TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)[
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])]


def tree_of(triangles: np.ndarray) -> WindingTree:
    return WindingTree(TriangleTree(np.asarray(triangles, float)))


def exact(points: np.ndarray, tree: WindingTree) -> np.ndarray:
    return winding_reference.winding_numbers(np.asarray(points, float), tree, 0.0, np.zeros(len(points)))


def soup(count: int, seed: int, size: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 1, 3)) + size * rng.normal(size=(count, 3, 3))


@pytest.mark.parametrize("winding", [winding_numbers, exact])
def test_a_tetrahedron_winds_once_around_its_inside_and_not_around_the_outside(winding):
    points = np.array([[0.1, 0.1, 0.1], [0.3, 0.3, 0.3], [0.4, 0.4, 0.4], [-0.01, 0.2, 0.2], [9, 9, 9]])
    assert np.allclose(winding(points, tree_of(TETRAHEDRON)), [1, 1, 0, 0, 0], atol=1e-12)
    assert np.allclose(winding(points, tree_of(TETRAHEDRON[:, ::-1])), [-1, -1, 0, 0, 0], atol=1e-12)
    assert np.allclose(winding(points, tree_of(np.concatenate([TETRAHEDRON] * 2))), [2, 2, 0, 0, 0], atol=1e-12)


@pytest.mark.parametrize("winding", [winding_numbers, exact])
def test_one_of_a_cubes_sides_is_a_sixth_seen_from_the_centre(winding):
    side = np.array([[[1, -1, -1], [1, 1, -1], [1, 1, 1]], [[1, -1, -1], [1, 1, 1], [1, -1, 1]]], float)
    # From a corner of the cube it is an eighth of the sphere's third: three sides share an octant.
    points = np.array([[0, 0, 0], [2, 0, 0], [-1, -1, -1]], float)
    assert np.allclose(winding(points, tree_of(side)), [1 / 6, -1 / 6, 1 / 24], atol=1e-12)


def test_a_triangles_solid_angle_on_its_axis_follows_the_formula_of_a_regular_pyramid():
    # n = 3 sides, circumradius 1, height h: Ω = 2π − 2n·asin(sin(π/n)·h / √(h² + cos²(π/n))), apex above.
    corners = np.array([[np.cos(turn), np.sin(turn), 0] for turn in 2 * np.pi * np.arange(3) / 3])
    height = np.array([0.01, 0.5, 3.0])
    angle = 2 * np.pi - 6 * np.arcsin(np.sin(np.pi / 3) * height / np.sqrt(height**2 + np.cos(np.pi / 3) ** 2))
    seen = exact(np.stack((0 * height, 0 * height, height), axis=1), tree_of(corners[None]))
    assert np.allclose(-4 * np.pi * seen, angle, atol=1e-12)  # its front faces up


@pytest.mark.parametrize("count", [1, 3, 5, 200])
def test_few_triangles_wind_as_each_alone_does(count):
    triangles = soup(count, count)
    triangles[::7, 2] = triangles[::7, 1]  # segments
    triangles[::11, 1:] = triangles[::11, :1]  # points
    tree, points = tree_of(triangles), 2 * np.random.default_rng(count).normal(size=(300, 3))
    assert np.allclose(winding_numbers(points, tree, 1e9), exact(points, tree), atol=1e-12)
    assert np.abs(winding_numbers(points, tree) - exact(points, tree)).max() < 1e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 10**6), st.floats(0.01, 1), st.floats(1e-3, 1e3))
def test_a_random_soup_winds_as_the_sum_of_its_triangles_within_a_thousandth(count, seed, size, scale):
    tree = tree_of(scale * soup(count, seed, size / np.sqrt(count)))
    points = scale * 3 * np.random.default_rng(seed).normal(size=(200, 3))
    assert np.abs(winding_numbers(points, tree) - exact(points, tree)).max() < 1e-3


def test_the_expansion_converges_to_the_fourth_order():
    tree = tree_of(soup(4, 0))  # a single node
    direction = np.array([[0.48, 0.6, 0.64]])
    error = [abs(winding_numbers(away * direction, tree, 0.0) - exact(away * direction, tree))[0] for away in (40, 80)]
    # The error's first term falls as r⁻⁵: 32 times less at twice the distance.
    assert error[0] < 1e-6 and 20 < error[0] / error[1] < 45


def test_numbers_taken_over_through_free_space_are_those_of_each_point_alone():
    surface = np.concatenate([TETRAHEDRON, TETRAHEDRON + 0.2, (TETRAHEDRON * 0.2 + 0.05)[:, ::-1]])
    tree, points = tree_of(surface), np.random.default_rng(0).uniform(-0.5, 1.5, (20_000, 3))
    clear, _ = closest_triangles(points, tree.tree)
    taken = winding_numbers(points, tree, clear=clear)
    assert np.array_equal(taken.round(), winding_numbers(points, tree).round())
    assert len(np.unique(taken)) < len(points) / 4  # and few are worked out


def test_a_closed_surface_far_from_the_origin_winds_once():
    tree = tree_of(TETRAHEDRON + 1e5)
    points = np.array([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5]]) + 1e5
    assert np.allclose(winding_numbers(points, tree), [1, 0], atol=1e-6)


def test_the_slope_on_a_loops_axis_is_that_of_a_current():
    # Of a circle of radius 1: w = (1 − z/√(1 + z²))/2, so |dw/dz| = (1 + z²)^(−3/2)/2.
    turn = 2 * np.pi * np.arange(2000) / 2000
    ring = np.stack((np.cos(turn), np.sin(turn), 0 * turn), axis=1)
    boundary = np.stack((ring, np.roll(ring, -1, axis=0)), axis=1)
    height = np.array([0, 0.5, 2.0])
    points = np.stack((0 * height, 0 * height, height), axis=1)
    expected = (1 + height**2) ** -1.5 / 2
    assert np.allclose(winding_slopes(points, boundary), expected, rtol=1e-5)
    assert np.allclose(winding_reference.winding_slopes(points, boundary), expected, rtol=1e-5)


def test_the_slope_of_any_boundary_is_the_winding_numbers_derivative():
    triangles = soup(20, 3, 0.5)
    tree, points, step = tree_of(triangles), np.random.default_rng(3).normal(size=(50, 3)), 1e-5
    boundary = np.stack((triangles, np.roll(triangles, -1, axis=1)), axis=2).reshape(-1, 2, 3)
    gradient = [(exact(points + step * axis, tree) - exact(points - step * axis, tree)) / 2 / step
                for axis in np.eye(3)]
    assert np.allclose(winding_slopes(points, boundary), np.linalg.norm(gradient, axis=0), rtol=1e-4, atol=1e-6)
    assert np.allclose(winding_slopes(points, boundary), winding_reference.winding_slopes(points, boundary))


def test_a_closed_loop_there_and_back_has_no_slope():
    boundary = np.array([[[0, 0, 0], [1, 0, 0]], [[1, 0, 0], [0, 0, 0]]], float)
    on_and_off = np.array([[0.5, 0, 0], [2, 0, 0], [0, 0, 0], [0.3, 0.4, 0.5]])
    assert np.allclose(winding_slopes(on_and_off, boundary), 0)


def test_the_z_curve_takes_one_bit_of_each_axis_in_turn():
    # Corners 0 and 1 give the first and last of 65536 cells an axis; the bits of x, y, z stand at 3b, 3b + 1, 3b + 2.
    points = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 2.5 / 65536, 0], [0, 0, 0.5]])
    ones = (1 << 48) - 1
    assert morton(points).tolist() == [0, ones, ones // 7, 1 << 4, 1 << 47]
