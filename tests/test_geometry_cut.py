"""The plane where a scan ends: found where there is one, and not where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maquette.neural.geometry.cut import find_cut

Cloud = tuple[NDArray[np.float64], NDArray[np.float64]]


def ball(count: int = 3000) -> Cloud:
    normals = np.random.default_rng(0).normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return 2 * normals + [5.0, 0.0, 0.0], normals


def cube(count: int = 3000) -> Cloud:
    generator = np.random.default_rng(1)
    points, face = generator.uniform(-1, 1, (count, 3)), generator.integers(6, size=count)
    normals = np.zeros((count, 3))
    normals[np.arange(count), face // 2] = 2 * (face % 2) - 1
    points[np.arange(count), face // 2] = 2 * (face % 2) - 1
    return points, normals


@pytest.mark.parametrize("cloud", [ball(), cube()], ids=["ball", "cube"])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_plane_of_a_cut_is_found(cloud, noise):
    points = cloud[0] + np.random.default_rng(2).normal(size=cloud[0].shape) * noise
    direction = np.array([0.6, 0.64, 0.48])
    height = float(np.median(points @ direction))
    kept = points @ direction < height
    cut = find_cut(points[kept], cloud[1][kept])
    assert cut is not None and cut.direction @ direction > np.cos(np.radians(5))
    assert abs(cut.section @ direction - height) < 0.15
    assert cut.before(cut.section[None])[0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("cloud", [ball(), cube()], ids=["ball", "cube"])
def test_a_whole_has_no_cut(cloud):
    assert find_cut(*cloud) is None


def test_what_is_seen_of_a_cube_from_its_corner_ends_at_no_plane():
    points, normals = cube()
    seen = normals @ np.ones(3) > 0
    assert find_cut(points[seen], normals[seen]) is None


def test_a_scan_of_fewer_points_than_neighbours_is_no_error():
    points, normals = ball(20)
    find_cut(points[:10], normals[:10])
