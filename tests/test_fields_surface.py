"""The surface field: distances measured anew, resampling, rendering, colours, and training on a painted ball."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from maquette.neural.fields.surface import SurfaceField, redistance, resample
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.meshing import raster
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.rendering.lattice import Lattice
from maquette.neural.training import surface as training
from maquette.neural.training.photo_consistency import agreed
from maquette.neural.training.surface_start import DepthMap, carved, hull_distances
from maquette.recipes.capture import Capture

RADIUS = 0.5
BOX = np.array([[-RADIUS] * 3, [RADIUS] * 3])
SIDE = 48


def ball_lattice(resolution=24):
    return Lattice.over(1.25 * BOX, resolution)


def ball_distances(lattice):
    return torch.from_numpy(np.linalg.norm(lattice.corner_points(), axis=-1) - RADIUS) / lattice.voxel


def look_from(direction, distance=2.0):
    """A camera's matrix at `distance` along `direction`, looking at the origin."""
    back = np.asarray(direction, float) / np.linalg.norm(direction)
    right = np.cross([0.0, 0.0, 1.0] if abs(back[2]) < 0.9 else [0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(back, right), back], 1)
    matrix[:3, 3] = distance * back
    return matrix


def picture_of_ball(number, direction):
    """The ball, red where x > 0 and green elsewhere, with 4 × 4 rays a pixel."""
    matrix, focal, fine = look_from(direction), 1.6 * SIDE, 4 * SIDE
    u = ((np.arange(fine) + 0.5) / 4 - SIDE / 2) / focal
    d = np.stack([*np.meshgrid(u, -u), -np.ones((fine, fine))], -1) @ matrix[:3, :3].T
    o = matrix[:3, 3]
    b, dd = d @ o, (d * d).sum(-1)
    root = b * b - dd * (o @ o - RADIUS**2)
    t = (-b - np.sqrt(np.maximum(root, 0))) / dd
    x = (o + t[..., None] * d)[..., 0]
    rgba = np.where((root > 0)[..., None], np.where((x > 0)[..., None], [0.8, 0.2, 0.1, 1.0], [0.1, 0.7, 0.2, 1.0]), 0.0)
    rgba = rgba.reshape(SIDE, 4, SIDE, 4, 4).mean((1, 3)).astype(np.float32)
    return PosedPicture(str(number), rgba, focal, focal, SIDE / 2, SIDE / 2, matrix)


def pictures_of_ball(number=14):
    z = 1 - 2 * (np.arange(number) + 0.5) / number
    angle = 2.4 * np.arange(number)
    ring = np.sqrt(1 - z * z)
    return [picture_of_ball(i, d) for i, d in enumerate(np.stack([ring * np.cos(angle), ring * np.sin(angle), z], 1))]


def test_redistancing_a_stretched_level_set_gives_distances():
    lattice = ball_lattice()
    truth = ball_distances(lattice)
    found = redistance(3 * truth)
    near = truth.abs() < 5
    assert (found - truth)[near].abs().max() < 0.6
    assert (found - truth)[near].abs().mean() < 0.12


def test_resampling_is_trilinear():
    grid = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(5.0), torch.arange(3.0), indexing="ij"), -1)
    values = grid @ torch.tensor([1.0, 10.0, 100.0])
    axes = [torch.tensor([0.5, 2.25]), torch.tensor([1.0, 3.75]), torch.tensor([0.1, 1.9, 7.0])]
    found = resample(values, axes)
    assert found[1, 1].tolist() == pytest.approx([2.25 + 37.5 + 10, 2.25 + 37.5 + 190, 2.25 + 37.5 + 200])


def test_a_band_holds_a_small_share_of_the_corners_and_the_rest_knows_its_side():
    lattice = ball_lattice(64)
    field = SurfaceField(lattice, ball_distances(lattice), 3.0, 0.3)
    assert len(field.rows.sdf) < 0.3 * np.prod(lattice.corners)
    values, world_from_grid = field.level_grid()
    assert values.shape == lattice.corners and values.dtype == np.float32
    assert values[32, 32, 32] < 0 < values[0, 0, 0]
    np.testing.assert_allclose(world_from_grid, lattice.world_from_grid)


def test_a_ball_is_rendered_at_its_depth_with_its_normals():
    lattice = ball_lattice(48)
    field = SurfaceField(lattice, ball_distances(lattice), 4.0, 0.2)
    field.rows.color[:, 0] = 0.8
    view = field.render(1.6 * SIDE, 1.6 * SIDE, SIDE / 2, SIDE / 2, SIDE, SIDE, look_from([1.0, 0.2, 0.3]))
    middle = SIDE // 2
    assert view.alpha[middle, middle] > 0.99 and view.alpha[0, 0] == 0 and np.isnan(view.depth[0, 0])
    assert view.depth[middle, middle] == pytest.approx(1.5, abs=0.01)
    assert view.normal[middle, middle] @ look_from([1.0, 0.2, 0.3])[:3, 2] > 0.995
    assert view.rgb_srgb[middle, middle] == pytest.approx([0.8, 0.5, 0.5], abs=0.01)


def test_a_picture_does_not_find_the_seen_cells_anew(monkeypatch):
    """It takes longer than the picture, and corrections look at all views."""
    lattice = ball_lattice(20)
    field = SurfaceField(lattice, ball_distances(lattice), 5.0, 1.0)
    monkeypatch.setattr(field, "refresh", lambda: pytest.fail("the field is refreshed"))
    field.render(SIDE, SIDE, SIDE / 2, SIDE / 2, SIDE, SIDE, look_from([1.0, 0.0, 0.0]))


def test_a_refined_field_keeps_surface_and_colours():
    lattice = ball_lattice(20)
    field = SurfaceField(lattice, ball_distances(lattice), 5.0, 1.0)
    field.rows.color[:, 0] = 0.3
    finer = ball_lattice(40)
    fine = field.refined(finer, 4.0, 0.5)
    truth = ball_distances(finer)
    near = truth.abs() < 2
    assert (fine.dense() - truth)[near].abs().mean() < 0.15
    assert fine.rows.color[:, 0].numpy() == pytest.approx(0.3, abs=1e-4)


def test_the_hull_of_a_ball_is_the_ball_to_a_fraction_of_a_voxel():
    lattice = ball_lattice()
    found = hull_distances(pictures_of_ball(40), lattice, BOX)
    truth = ball_distances(lattice).numpy()
    near = np.abs(truth) < 1
    assert np.median(np.abs(found - truth)[near]) < 0.25


def test_a_place_is_carved_where_enough_views_see_through_it():
    lattice = ball_lattice()
    solid = np.where(ball_distances(lattice).numpy() < 0, -1.0, 1.0)
    lens = (20.0, 20.0, 16.0, 16.0)
    through = [DepthMap(np.full((32, 32), 2.5), *lens, look_from(d)) for d in [*np.eye(3), [1.0, 1.0, 0.0]]]
    blind = [DepthMap(np.full((32, 32), np.nan), *lens, look_from(-d)) for d in np.eye(3)]
    assert (carved(solid, through[:3] + blind, lattice) == solid).all()
    assert carved(solid, through + blind, lattice)[tuple(n // 2 for n in lattice.cells)] > 0


def test_one_map_that_sees_too_deep_carves_nothing():
    lattice = ball_lattice()
    solid = np.where(ball_distances(lattice).numpy() < 0, -1.0, 1.0)
    top = np.argmin(np.abs(lattice.corner_points() - [0.0, 0.0, RADIUS - lattice.voxel]).sum(-1))
    lens = (20.0, 20.0, 16.0, 16.0)
    exact = [DepthMap(np.full((32, 32), 2.0 - RADIUS), *lens, look_from([0.0, 0.0, 1.0]))] * 7
    deep = DepthMap(np.full((32, 32), 2.0 - RADIUS + 10 * lattice.voxel), *lens, look_from([0.0, 0.0, 1.0]))
    assert carved(solid, [*exact, deep], lattice).flat[top] < 0 < carved(solid, [deep] * 8, lattice).flat[top]


def test_views_from_behind_a_surface_do_not_count():
    lattice = ball_lattice()
    solid = np.where(ball_distances(lattice).numpy() < 0, -1.0, 1.0)
    lens = (20.0, 20.0, 16.0, 16.0)
    # Seen from above the upper half is empty; from below the lower half's surface is all there is to see.
    above = [DepthMap(np.full((32, 32), 2.0), *lens, look_from([0.0, 0.0, 1.0]))] * 4
    below = [DepthMap(np.full((32, 32), 2.0 - RADIUS), *lens, look_from([0.0, 0.0, -1.0]))] * 20
    x, y, z = (n // 2 for n in lattice.cells)
    found = carved(solid, above + below, lattice)
    assert found[x, y, z + 4] > 0 > found[x, y, z - 2]


def test_where_the_views_agree_about_the_hull_it_takes_more_to_carve():
    lattice = ball_lattice()
    solid = np.where(ball_distances(lattice).numpy() < 0, -1.0, 1.0)
    lens = (20.0, 20.0, 16.0, 16.0)
    top = np.argmin(np.abs(lattice.corner_points() - [0.0, 0.0, RADIUS - lattice.voxel]).sum(-1))
    a_voxel_deeper = [DepthMap(np.full((32, 32), 2.0 - RADIUS + 2 * lattice.voxel), *lens,
                               look_from([0.0, 0.0, 1.0]))] * 4
    everywhere, nowhere = (lambda points, all=all: np.full(len(points), all) for all in (True, False))
    assert carved(solid, a_voxel_deeper, lattice, everywhere).flat[top] < 0
    assert carved(solid, a_voxel_deeper, lattice, nowhere).flat[top] > 0


def test_views_agree_about_what_is_painted_on_the_hull_and_not_about_a_hollow_below_it():
    """A block with a deep hollow in its top, patterned all over."""
    lattice = Lattice.over(np.array([[-0.5, -0.5, -0.4], [0.5, 0.5, 0.4]]), 48)
    points = lattice.corner_points()
    block = (np.abs(points) - [0.4, 0.4, 0.3]).max(-1)
    hollow = (np.abs(points - [0.0, 0.0, 0.25]) - [0.25, 0.25, 0.3]).max(-1)
    mesh = marching_cubes(np.maximum(block, -hollow).astype(np.float32), lattice.world_from_grid, closed=True)
    stripes = 0.5 + 0.4 * np.sin(12 * mesh.vertices @ np.array([[1.0, 0.3, 0.2], [0.2, 1.0, 0.3], [0.3, 0.2, 1.0]]))
    mesh = replace(mesh, colors=stripes.astype(np.float32))
    turns = 2.4 * np.arange(24)
    pictures = []
    for height, turn in zip(np.linspace(-0.4, 2.0, 24), turns, strict=True):
        pose = look_from([np.cos(turn), np.sin(turn), height])
        seen = raster.render(mesh, 80.0, 80.0, 32.0, 32.0, 64, 64, pose)
        rgba = np.concatenate([seen.rgb_srgb, seen.alpha[..., None]], -1).astype(np.float32)
        pictures.append(PosedPicture("view", rgba, 80.0, 80.0, 32.0, 32.0, pose))
    agree = agreed(pictures, block / lattice.voxel, lattice)
    corners = np.stack(np.meshgrid([-0.15, 0.15], [-0.15, 0.15], [0.3], indexing="ij"), -1).reshape(-1, 3)
    assert not agree(corners).any()
    sides = np.array([[0.4, 0.0, 0.0], [-0.4, 0.1, 0.1], [0.1, 0.4, -0.1], [0.0, -0.4, 0.1]])
    assert agree(sides).all()
    opaque = [replace(p, has_alpha=False) for p in pictures]
    assert not agreed(opaque, block / lattice.voxel, lattice)(sides).any()


@pytest.fixture
def trainer():
    def make():
        recipe = Capture(resolution=32)
        return training.make_trainer(pictures_of_ball(), BOX, recipe, seed=3, device=torch.device("cpu"), points=None)
    return make


def test_known_depth_tells_where_the_surface_begins():
    """Silhouettes of a ball, depth of one with 0.7 of its radius."""
    small, known = 0.7 * RADIUS, []
    for p in pictures_of_ball(60):
        u = (np.arange(SIDE) + 0.5 - SIDE / 2) / p.fx
        axial, squared = np.float64(2.0), 1 + u**2 + u[:, None] ** 2
        root = axial**2 - squared * (axial**2 - small**2)
        depth = np.where(root > 0, (axial - np.sqrt(np.maximum(root, 0))) / squared, np.nan)
        known.append(replace(p, depth=depth.astype(np.float32)))
    inside = {}
    for depth in (False, True):
        recipe = Capture(resolution=32, depth=depth)
        t = training.make_trainer(known, BOX, recipe, seed=0, device=torch.device("cpu"), points=None)
        t.step(0.5)  # too late for a density field
        values, world_from_grid = t.field().level_grid()
        inside[depth] = (values < 0).sum() * world_from_grid[0, 0] ** 3
    ball = 4 / 3 * np.pi * RADIUS**3
    assert inside[False] == pytest.approx(ball, rel=0.1)
    assert inside[True] == pytest.approx(0.7**3 * ball, rel=0.25)  # 6 % of the radius: 0.3 coarse voxels


def test_training_finds_the_ball_and_its_paint(trainer):
    t = trainer()
    t.warm_up()
    for i in range(160):
        t.step(i / 160)
    field = t.field()
    values, _ = field.level_grid()
    truth = ball_distances(field.lattice).numpy() * field.lattice.voxel
    near = np.abs(truth) < field.lattice.voxel
    assert np.abs(values - truth)[near].mean() < 0.5 * field.lattice.voxel
    places = np.array([[0.49, 0.05, 0.05], [-0.49, 0.05, 0.05]])
    index = torch.from_numpy((places - field.lattice.lower) / field.lattice.voxel).float()
    colors = field.colors_at(index)[:, :3].numpy()
    assert colors[0, 0] > colors[0, 1] + 0.3 and colors[1, 1] > colors[1, 0] + 0.3


def test_where_time_ends_before_the_surface_begins_the_result_is_the_hull(trainer):
    t = trainer()
    t.step(0.0)
    values, world_from_grid = t.result().level_grid()
    assert (values < 0).sum() * world_from_grid[0, 0] ** 3 == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.1)


@pytest.mark.parametrize("stop", [10, 60])
def test_training_goes_on_from_its_state_exactly(trainer, stop):
    straight, steps = trainer(), 80
    for i in range(stop):
        straight.step(i / steps)
    resumed = trainer()
    resumed.load_state({name: value.clone() for name, value in straight.state().items()})
    for i in range(stop, steps):
        assert straight.step(i / steps) == pytest.approx(resumed.step(i / steps), rel=1e-5)
