"""Surfaces from points: clean and noisy, with normals and without, thin, open, and none at all."""

import numpy as np
import pytest
import torch

from maquette.formats.mesh import Mesh
from maquette.neural.evaluation.audit import audit, is_closed
from maquette.neural.evaluation.metrics import compare, sample_surface
from maquette.neural.geometry import oriented_points
from maquette.neural.geometry.point_distance import PointDistance
from maquette.recipes.errors import InputError

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CUBE = Mesh(CORNERS, np.array([[(a, b, c), (a, c, d)] for a, b, c, d in (
    (0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))]).reshape(-1, 3))


def ball(count: int, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return normals + noise * rng.normal(size=(count, 3)), normals


def radii(distance: PointDistance) -> np.ndarray:
    return np.linalg.norm(distance.mesh.vertices, axis=1)


@pytest.mark.parametrize("noise, error", [(0.0, 0.005), (0.03, 0.02)])
@pytest.mark.parametrize("given", [False, True])
def test_a_ball_is_a_ball_with_normals_or_without_and_averages_its_noise(noise, error, given):
    points, normals = ball(3000, noise)
    distance = PointDistance(points, normals if given else None)
    assert np.abs(radii(distance) - 1).mean() < error
    assert is_closed(audit(distance.mesh)) and audit(distance.mesh)["components"] == 1
    assert distance.is_closed and distance.guessed == 0
    values = distance(torch.tensor([[0, 0, 0], [0, 0, 2], [0.5, 0, 0]], dtype=torch.float32))
    assert np.allclose(values, [-1, 1, -0.5], atol=0.08)


def test_normals_that_all_face_inwards_mean_the_same_ball():
    points, normals = ball(3000)
    assert PointDistance(points, -7 * normals)(torch.zeros(1, 3)) < -0.95


def test_a_cube_far_from_the_origin_keeps_its_sides():
    points, face = sample_surface(CUBE, 6000, 0)
    distance = PointDistance(points + [1000, 0, 0])
    moved = Mesh(distance.mesh.vertices - [1000, 0, 0], distance.mesh.faces)
    scores = compare(moved, CUBE, 3000)
    assert scores["chamfer"] < 0.006 and scores["normal_consistency"] > 0.95


def test_outliers_far_off_the_surface_leave_no_trace():
    points, _ = ball(2000)
    stray = np.random.default_rng(1).uniform(-3, 3, (40, 3))
    distance = PointDistance(np.concatenate((points, stray)))
    assert np.abs(radii(distance) - 1).max() < 0.1


def test_a_plate_as_thin_as_its_noise_is_no_balloon():
    rng = np.random.default_rng(0)
    plate = rng.uniform(-1, 1, (12_000, 3)) * [1, 1, 0]
    plate[:, 2] = 0.03 * rng.choice([-1, 1], 12_000)
    distance = PointDistance(plate + 0.04 * rng.normal(size=plate.shape))
    vertices = distance.mesh.vertices
    away = np.abs(vertices[(np.abs(vertices[:, :2]) < 0.9).all(axis=1), 2])
    assert 0.02 < away.mean() < 0.05 and np.ptp(distance.box[:, 2]) < 0.25
    assert distance(torch.zeros(1, 3)) < 0


def test_a_scan_from_one_side_is_closed_and_said_to_be_open():
    points, _ = ball(4000)
    distance = PointDistance(points[points[:, 2] > 0])
    assert is_closed(audit(distance.mesh))
    assert not distance.is_closed and distance.guessed > 0.1
    assert distance(torch.tensor([[0, 0, 0.5]])) < 0 < distance(torch.tensor([[0, 0, 1.2]]))


def test_normals_are_not_handed_across_a_thin_plate():
    rng = np.random.default_rng(0)
    top, bottom = rng.uniform(-1, 1, (2, 3000, 3)) * [1, 1, 0] + np.array([[[0, 0, 0.03]], [[0, 0, -0.03]]])
    places, normals = np.concatenate((top, bottom)), np.tile([0.0, 0, 1], (6000, 1))
    normals *= rng.choice([-1, 1], (6000, 1))
    handed = oriented_points._handed_on(places, normals)
    for side in (handed[:3000, 2], handed[3000:, 2]):
        assert abs(side.sum()) == 3000


@pytest.mark.parametrize("points, words", [
    (np.zeros((2, 3)) + [[0], [1]], "there are 2; give at least"),
    (np.ones((100, 3)), "lie in one place"),
    (np.outer(np.arange(100.0), [1, 2, 3]), "lie in one line"),
    (np.random.default_rng(0).random((100, 3)) * [1, 1, 0], "lie in one plane"),
    (np.vstack((np.random.default_rng(0).random((100, 3)), [np.nan, 0, 0])), "1 of 101 are not finite"),
    (np.repeat(np.random.default_rng(0).random((5, 3)), 10, axis=0), "5 at different places")],
    ids=["two", "one place", "a line", "a plane", "NaN", "five repeated"])
def test_what_bounds_nothing_is_refused_in_one_line(points, words):
    with pytest.raises(InputError, match=words):
        PointDistance(points)


def test_normals_must_be_as_many_as_the_points():
    with pytest.raises(InputError, match="2 for 100 points"):
        PointDistance(np.random.default_rng(0).random((100, 3)), np.ones((2, 3)))


def test_the_two_sides_of_a_thin_noisy_box_lie_where_they_were():
    points, _ = sample_surface(Mesh(CORNERS * [1, 1, 0.05], CUBE.faces), 12_000, 0)
    noisy = points + 0.03 * np.random.default_rng(1).normal(size=points.shape)
    vertices = PointDistance(noisy).mesh.vertices
    height = np.abs(vertices[(np.abs(vertices[:, :2]) < 0.8).all(axis=1), 2])
    assert np.abs(height.mean() - 0.05) < 0.008 and height.std() < 0.015
