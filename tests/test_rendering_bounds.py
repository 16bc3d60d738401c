"""Finding the subject in posed pictures."""

from dataclasses import replace

import numpy as np
import pytest

from maquette.neural.rendering.bounds import box_of_points, find_box, visual_hull
from maquette.neural.rendering.lattice import Lattice
from maquette.recipes.errors import InputError

FAR = (1000.0, -2000.0, 30.0)


@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), FAR])
def test_the_box_is_that_of_the_silhouettes(ball, centre):
    box = find_box(ball(centre=centre))
    assert (box[0] - centre <= -0.5).all() and (box[1] - centre >= 0.5).all()
    assert np.abs(box - centre).max() < 0.6


def test_a_hull_keeps_every_cell_of_the_subject_and_little_else(ball):
    lattice = Lattice.over(np.array([[-0.7] * 3, [0.7] * 3]), 37)
    hull = visual_hull(ball(), lattice)
    centres = lattice.lower + lattice.voxel * (np.argwhere(np.ones(lattice.cells)) + 0.5)
    distance = np.linalg.norm(centres, axis=1).reshape(lattice.cells)
    assert hull[distance < 0.5].all()
    assert not hull[(distance > 0.66) & (distance < 0.72)].any()  # those that every picture shows


def test_blocks_decide_as_single_cells_do(ball):
    pictures = ball()[:6]
    lattice = Lattice.over(np.array([[-0.7] * 3, [0.7] * 3]), 32)
    small = Lattice.over(lattice.box, 32)
    whole = visual_hull(pictures, lattice)
    octant = Lattice(small.lower, small.voxel, (11, 11, 11))  # too few cells for blocks
    assert (visual_hull(pictures, octant) == whole[:11, :11, :11]).all()


def test_what_lies_outside_a_picture_is_not_known_from_it(ball):
    pictures = ball()
    half = replace(pictures[1], rgba_srgb=pictures[1].rgba_srgb[:, :32])  # its right half was never taken
    lattice = Lattice.over(np.array([[-0.7] * 3, [0.7] * 3]), 24)
    assert (visual_hull([half, *pictures[2:]], lattice) >= visual_hull(pictures[1:], lattice)).all()


def test_without_alpha_the_box_is_where_the_cameras_look(ball):
    box = find_box(ball(has_alpha=False, centre=FAR))
    assert np.abs(box.mean(0) - FAR).max() < 0.01
    assert 0.5 < np.abs(box - FAR).max() < 1.5


def test_stray_points_do_not_stretch_the_box_of_points():
    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    points[:5] = 100.0
    box = box_of_points(points)
    assert (np.abs(box) < 1.5).all() and (np.abs(box) > 0.95).all()


def _empty(pictures):
    return [replace(p, rgba_srgb=np.zeros_like(p.rgba_srgb)) for p in pictures]


def _apart(pictures):
    """Every camera sees a subject at a place of its own."""
    moved = []
    for n, p in enumerate(pictures):
        pose = p.world_from_camera.copy()
        pose[:3, 3] += 10.0 * np.array([n, n * n % 7, n % 3])
        moved.append(replace(p, world_from_camera=pose))
    return moved


def _in_one_place(pictures):
    return [replace(p, world_from_camera=pictures[1].world_from_camera) for p in pictures]


def _with_nan(pictures):
    return [replace(p, world_from_camera=p.world_from_camera * np.nan) for p in pictures]


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda p: p[1:3], "too few"), (_empty, "empty"), (_apart, "no place"), (_in_one_place, "one place"),
    (_with_nan, "NaN")])
def test_views_that_show_no_subject_are_refused_in_one_line(ball, spoil, says):
    with pytest.raises(InputError, match=says) as error:
        find_box(spoil(ball()))
    assert "\n" not in str(error.value)
