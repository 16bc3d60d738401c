"""Fitting a shape to a silhouette: gradients, carving, symmetry, and the cutting of long edges before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from maquette.formats.mesh import Mesh
from maquette.neural.evaluation.audit import audit, is_closed
from maquette.neural.meshing.carve import carve
from maquette.neural.meshing.cubify import cubify
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.meshing.split import split_long_edges
from maquette.neural.predictors import view
from maquette.neural.predictors.inflate import inflated
from maquette.neural.training import picture_fit
from maquette.neural.training.picture_fit import Stage, fit, silhouette_iou

DISTANCE = view.distance_of(np.radians(40))
SIDE = 256
Y, X = (np.mgrid[:4 * SIDE, :4 * SIDE] + 0.5) / (2 * SIDE) - 1
# A body with a hole, and a leg.
JUG = (np.hypot(X, Y + 0.2) < 0.6) & (np.hypot(X - 0.2, Y + 0.3) > 0.17)
JUG |= (np.abs(X) < 0.07) & (np.abs(Y - 0.6) < 0.3)


def crop(mask: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A white object with soft edges (side, side, 4)."""
    step = len(mask) // side
    return np.repeat(mask.reshape(side, step, side, step).mean(axis=(1, 3))[..., None], 4, axis=2).astype(np.float32)


def ellipsoid(x: float, y: float, z: float) -> Mesh:
    axis = np.linspace(-1.1, 1.1, 24)
    a, b, c = np.meshgrid(axis, axis, axis, indexing="ij")
    world_from_grid = np.diag([x * 2.2 / 23, y * 2.2 / 23, z * 2.2 / 23, 1])
    world_from_grid[:3, 3] = [-1.1 * x, -1.1 * y, -1.1 * z]
    return marching_cubes(np.sqrt(a ** 2 + b ** 2 + c ** 2) - 1, world_from_grid)


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.triangles().astype(np.float64).transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def assert_closed(mesh: Mesh, genus: int = 0) -> None:
    found = audit(mesh)
    assert is_closed(found) and not found["nonmanifold_edges"] + found["nonmanifold_vertices"]
    assert found["components"] == 1 and found["genus"] == genus and volume(mesh) > 0


def test_the_overlap_of_silhouettes_is_counted_in_pixels() -> None:
    half = 0.5
    square = Mesh(np.array([[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]]),
                  np.array([[0, 1, 2], [0, 2, 3]]))
    assert silhouette_iou(square, crop((np.abs(X) < half) & (np.abs(Y) < half)), DISTANCE) == 1
    assert silhouette_iou(square, crop((X > 0) & (X < half) & (np.abs(Y) < half)), DISTANCE) == 0.5
    assert silhouette_iou(square, crop(X > 0.6), DISTANCE) == 0


def test_a_ball_becomes_what_has_the_outline_with_its_hole_and_its_leg() -> None:
    rgba, fractions = crop(JUG), [0.0]
    fitted = fit(ellipsoid(0.6, 0.6, 0.4), rgba, DISTANCE, on_progress=fractions.append)
    assert silhouette_iou(fitted, rgba, DISTANCE) > 0.98
    assert_closed(fitted, genus=1)
    assert fractions == sorted(fractions) and fractions[-1] == 1
    # As deep as it was: the outline says nothing of that.
    assert np.abs(fitted.vertices[:, 2]).max() == pytest.approx(0.4, abs=0.08)


def test_a_shape_that_meets_the_outline_nearly_keeps_its_form() -> None:
    rgba = crop(JUG)
    start = inflated(crop(JUG, 128)[..., 3].astype(np.float64), DISTANCE)
    fitted = fit(start, rgba, DISTANCE)
    assert silhouette_iou(fitted, rgba, DISTANCE) >= max(silhouette_iou(start, rgba, DISTANCE), 0.99)
    assert volume(fitted) == pytest.approx(volume(start), rel=0.03)
    assert_closed(fitted, genus=1)


def test_gradients_alone_turn_a_ball_into_an_egg_and_move_what_is_unseen_along() -> None:
    alpha = torch.from_numpy(crop(np.hypot(X / 0.8, Y / 0.5) < 1)[..., 3])[None, None]
    moved = picture_fit._moved(ellipsoid(0.6, 0.6, 0.6), alpha, DISTANCE, (Stage(64, 50, 0.02, 60.0),), None,
                               lambda fraction: None)
    assert silhouette_iou(moved, crop(np.hypot(X / 0.8, Y / 0.5) < 1), DISTANCE) > 0.95
    behind = moved.vertices[moved.vertices[:, 2] < -0.3]
    assert np.ptp(behind[:, 0]) > 1.2 * np.ptp(behind[:, 1])
    assert_closed(moved)


def test_what_is_symmetric_is_moved_alike_on_both_sides() -> None:
    rgba = crop((np.hypot(X, Y) < 0.6) | ((np.abs(Y) < 0.2) & (X > 0) & (X < 0.8)))
    alpha, normal = torch.from_numpy(rgba[..., 3])[None, None], np.array([1.0, 0.0, 0.0])
    widths = []
    for mirror in (None, (normal, 0.0)):
        moved = picture_fit._moved(ellipsoid(0.6, 0.6, 0.5), alpha, DISTANCE, (Stage(64, 40, 0.02, 30.0),), mirror,
                                   lambda fraction: None)
        widths.append((moved.vertices[:, 0].max(), -moved.vertices[:, 0].min()))
    assert widths[0][0] > widths[0][1] + 0.03
    assert abs(widths[1][0] - widths[1][1]) < 0.7 * (widths[0][0] - widths[0][1])


def test_carving_keeps_the_depth_where_the_shape_was_and_adds_it_where_it_was_not() -> None:
    solid = carve(ellipsoid(0.6, 0.6, 0.3), crop(JUG, 128)[..., 3].astype(np.float64), DISTANCE)
    assert_closed(solid, genus=1)
    assert silhouette_iou(solid, crop(JUG), DISTANCE) > 0.97
    x, y, z = solid.vertices.T
    assert np.abs(z).max() == pytest.approx(0.3, abs=0.03)
    leg = (y < -0.65) & (np.abs(x) < 0.1)
    assert 0.04 < np.abs(z[leg]).max() < 0.2


def test_carving_a_shape_by_its_own_outline_changes_little() -> None:
    ball = ellipsoid(0.6, 0.6, 0.6)
    radius = 0.6 / np.sqrt(1 - (0.6 / DISTANCE) ** 2)
    carved = carve(ball, crop(np.hypot(X, Y) < radius, 128)[..., 3].astype(np.float64), DISTANCE)
    assert np.abs(np.linalg.norm(carved.vertices, axis=1) / 0.6 - 1).max() < 0.05
    assert volume(carved) == pytest.approx(volume(ball), rel=0.02)


def test_long_edges_are_halved_and_the_surface_stays_where_it_was() -> None:
    cube = cubify(np.ones((1, 1, 1)), 0.5, align="corner")
    split = split_long_edges(Mesh(cube.vertices, cube.faces), 0.6)
    corners = split.triangles()
    assert np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max() <= 0.6
    assert volume(split) == pytest.approx(8) and audit(split)["genus"] == 0 and is_closed(audit(split))
    assert np.array_equal(split_long_edges(split, 0.6).faces, split.faces)
