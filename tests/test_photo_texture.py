"""Painting a mesh from its photo: the seen side, the far side mirrored, from behind, or filled, and no background."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.formats.mesh import Mesh
from maquette.neural.evaluation.audit import audit, is_closed
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.meshing.photo_texture import paint
from maquette.neural.meshing.raster import render
from maquette.neural.predictors import view

DISTANCE = view.distance_of(np.radians(40))
SIDE = 256
Y, X = (np.mgrid[:SIDE, :SIDE] + 0.5) * 2 / SIDE - 1
RADIUS = 0.6
OUTLINE = RADIUS / np.sqrt(1 - (RADIUS / DISTANCE) ** 2)
ALPHA = np.clip((OUTLINE - np.hypot(X, Y)) * SIDE / 2 + 0.5, 0, 1)
LEFT, RIGHT = np.array([0.8, 0.2, 0.1]), np.array([0.1, 0.3, 0.8])
FROM_BEHIND = np.diag([-1.0, 1.0, -1.0, 1.0])


def ball() -> Mesh:
    axis = np.linspace(-0.7, 0.7, 30)
    a, b, c = np.meshgrid(axis, axis, axis, indexing="ij")
    world_from_grid = np.diag([1.4 / 29, 1.4 / 29, 1.4 / 29, 1])
    world_from_grid[:3, 3] = -0.7
    return marching_cubes(np.sqrt(a ** 2 + b ** 2 + c ** 2) - RADIUS, world_from_grid)


def crop(left: np.ndarray = LEFT, right: np.ndarray = RIGHT) -> np.ndarray:
    """Two colours with a soft change, premultiplied."""
    share = np.clip(X / 0.2 + 0.5, 0, 1)[..., None]
    return np.dstack(((left * (1 - share) + right * share) * ALPHA[..., None], ALPHA)).astype(np.float32)


def seen(mesh: Mesh, turn: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Colours (H, W, 3) and where they are the object's, well within its outline."""
    pose = np.eye(4)
    pose[2, 3] = DISTANCE
    focal = DISTANCE * SIDE / 2
    drawn = render(mesh, focal, focal, SIDE / 2, SIDE / 2, SIDE, SIDE, pose if turn is None else turn @ pose)
    return drawn.rgb_srgb, (drawn.alpha > 0.99) & (ALPHA > 0.99)


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(((one - other) ** 2).mean()))


def test_from_the_photo_s_side_it_looks_like_the_photo() -> None:
    painted = paint(ball(), crop(), DISTANCE, side=512)
    assert painted.texture is not None and painted.texture.shape == (512, 512, 3) and painted.corner_uvs is not None
    found, inside = seen(painted)
    assert decibels(found[inside], crop()[..., :3][inside]) > 33
    assert is_closed(audit(painted))


def test_nothing_of_the_background_or_of_black_gets_on_it() -> None:
    grey = np.full(3, 0.6)
    painted = paint(ball(), crop(grey, grey), DISTANCE, side=512)
    for turn in (None, FROM_BEHIND):
        found, inside = seen(painted, turn)
        assert np.abs(found[inside] - 0.6).max() < 0.02


def test_the_far_side_goes_on_as_the_near_side_ends() -> None:
    found, inside = seen(paint(ball(), crop(), DISTANCE, side=512), FROM_BEHIND)
    for shown, color in ((X < -0.3, RIGHT), (X > 0.3, LEFT)):  # seen from behind, left and right are exchanged
        assert np.abs(found[inside & shown].mean(axis=0) - color).max() < 0.15


def test_a_symmetric_object_is_the_same_behind() -> None:
    painted = paint(ball(), crop(), DISTANCE, mirror=(np.array([0.0, 0.0, 1.0]), 0.0), side=512)
    found, inside = seen(painted, FROM_BEHIND)
    assert decibels(found[inside], crop()[:, ::-1, :3][inside]) > 28


def test_the_mirror_stands_where_it_is_said_to_stand() -> None:
    """A dot on a ball before the origin, mirrored in the ball's own middle, is as large behind as it is in front."""
    forward, start = 0.3, ball()
    near = DISTANCE - forward
    alpha = np.clip((DISTANCE * RADIUS / np.sqrt(near**2 - RADIUS**2) - np.hypot(X, Y)) * SIDE / 2 + 0.5, 0, 1)
    dot = np.where((np.hypot(X, Y) < 0.3)[..., None], LEFT, RIGHT)
    photo = np.dstack((dot * alpha[..., None], alpha)).astype(np.float32)
    mesh = Mesh(start.vertices + np.array([0, 0, forward]), start.faces)
    painted = paint(mesh, photo, DISTANCE, mirror=(np.array([0.0, 0.0, 1.0]), forward), side=512)
    found, _ = seen(painted, FROM_BEHIND)
    # At the pole the dot's radius is 0.3 · (near − 0.6) / DISTANCE, and from behind it is seen from farther away.
    radius = 0.3 * (near - RADIUS) / (DISTANCE + forward - RADIUS)
    for shown, color in ((np.hypot(X, Y) < 0.8 * radius, LEFT), (abs(np.hypot(X, Y) - 1.3 * radius) < 0.03, RIGHT)):
        assert np.abs(found[shown].mean(axis=0) - color).max() < 0.1


def test_a_photo_from_behind_is_stretched_to_the_outline_and_counts_before_the_mirror() -> None:
    green, white = np.array([0.2, 0.7, 0.2]), np.array([0.9, 0.9, 0.9])
    behind = crop(green, white)
    smaller = np.zeros_like(behind)
    smaller[40:40 + SIDE // 2, 70:70 + SIDE // 2] = behind[::2, ::2]  # elsewhere in the picture, and half as large
    painted = paint(ball(), crop(), DISTANCE, mirror=(np.array([0.0, 0.0, 1.0]), 0.0), back=smaller, side=512)
    found, inside = seen(painted, FROM_BEHIND)
    middle = inside & (np.hypot(X, Y) < 0.4)
    assert decibels(found[middle], behind[..., :3][middle]) > 25
    front, inside = seen(painted)
    assert decibels(front[inside], crop()[..., :3][inside]) > 33


@pytest.mark.parametrize("wide", [0.97, 1.03])
def test_a_mesh_that_misses_the_outline_a_little_has_no_fringe(wide: float) -> None:
    grey = np.full(3, 0.6)
    start = ball()
    painted = paint(Mesh(start.vertices * wide, start.faces), crop(grey, grey), DISTANCE, side=512)
    texture = painted.texture
    assert texture is not None and np.abs(texture / 255 - 0.6).max() < 0.02
