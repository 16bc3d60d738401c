"""Depth from other posed pictures: matching windows, semi-global aggregation, sweeps, and what views agree on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from maquette.neural.geometry.multi_view_depth import UNSURE, multi_view_depth, neighbours
from maquette.neural.geometry.plane_sweep import sweep
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.geometry.projection import project, unproject
from maquette.neural.kernels import correlation_reference, semi_global_reference
from maquette.neural.kernels.correlation import match
from maquette.neural.kernels.semi_global import aggregate
from maquette.neural.rendering.bounds import free_cells
from maquette.neural.rendering.lattice import Lattice
from maquette.neural.rendering.rays import Pixels
from maquette.neural.training import grid
from maquette.neural.training.fit import fit
from maquette.recipes.capture import Capture
from maquette.recipes.errors import Cancelled

CPU = torch.device("cpu")
FOCAL, WIDTH, HEIGHT = 100.0, 96, 64
NORMAL = np.array([0.3, 0.2, 1.0]) / np.linalg.norm([0.3, 0.2, 1.0])  # of a slanted plane 4 m before the first camera


def looking(x: float, y: float = 0.0, turn: float = 0.0) -> PosedPicture:
    """A picture of the slanted plane, whose colour is smooth noise, taken from (x, y, 0) along −Z after a turn."""
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    pose[:3, 3] = x, y, 0
    picture = PosedPicture(f"{x}", np.ones((HEIGHT, WIDTH, 4), np.float32), FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2, pose,
                           has_alpha=False)
    depth = true_depth(picture)
    places = unproject(picture, depth)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random((512, 512)), 1.5)
    noise = (noise - noise.min()) / np.ptp(noise)
    grey = ndimage.map_coordinates(noise, [256 + 60 * places[..., 1], 256 + 60 * places[..., 0]], order=1, mode="wrap")
    picture.rgba_srgb[..., :3] = grey[..., None]
    return picture


def true_depth(picture: PosedPicture) -> np.ndarray:
    """(H, W) of the plane through (0, 0, −4)."""
    rays = unproject(picture, np.ones((HEIGHT, WIDTH))) - picture.world_from_camera[:3, 3]
    return (NORMAL @ ([0, 0, -4] - picture.world_from_camera[:3, 3])) / (rays @ NORMAL)


@pytest.fixture(scope="module")
def pictures() -> list[PosedPicture]:
    return [looking(0), looking(0.3), looking(-0.3, 0.1), looking(0.1, -0.3, 0.05), looking(-0.2, 0.2, -0.04)]


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return unproject(looking(0), true_depth(looking(0)))[::6, ::6].reshape(-1, 3)


def test_a_pixel_comes_back_from_its_place_in_the_world():
    picture = looking(0.3, 0.1, 0.05)
    x, y, z = project(picture, unproject(picture, true_depth(picture)))
    assert x[5] == pytest.approx(np.arange(WIDTH) + 0.5) and y[:, 7] == pytest.approx(np.arange(HEIGHT) + 0.5)
    assert z == pytest.approx(true_depth(picture))


def test_windows_that_differ_in_light_match_and_their_negative_does_not():
    """Zero-mean NCC: gain and offset do not count. Windows (0, 1) and (1, 0) have the mean 1/2 and the product 0."""
    mean, square = np.full((1, 1), 0.5, np.float32), np.full((1, 1), 0.5, np.float32)
    means = np.array([[[0.3]], [[0.5]]], np.float32)  # 0.2 + 0.2 · (0, 1), and (1, 0)
    squares = np.array([[[0.1]], [[0.5]]], np.float32)
    products = np.array([[[0.2]], [[0.0]]], np.float32)
    inside = np.ones((2, 1, 1), np.uint8)
    both = [match(mean, square, means[n:n + 1], squares[n:n + 1], products[n:n + 1], inside[:1]) for n in range(2)]
    assert both[0].item() == pytest.approx(0, abs=0.01) and both[1].item() == pytest.approx(1, abs=0.01)
    assert match(mean, square, means, squares, products, inside) == both[0]  # the better half is the first
    assert match(mean, square, means, squares, products, 0 * inside).item() == 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_fused_and_reference_match_alike(number, seed):
    rng = np.random.default_rng(seed)
    mean, means = rng.random((4, 5), np.float32), rng.random((number, 4, 5), np.float32)
    square, squares = mean**2 + rng.random((4, 5), np.float32), means**2 + rng.random(means.shape, np.float32)
    products, inside = rng.random(means.shape, np.float32), rng.integers(0, 2, means.shape, np.uint8)
    given = mean, square, means, squares, products, inside
    np.testing.assert_allclose(match(*given), correlation_reference.match(*given), rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_fused_and_reference_aggregate_alike(height, width, labels, seed):
    rng = np.random.default_rng(seed)
    cost, grey = rng.random((height, width, labels), np.float32), rng.random((height, width), np.float32)
    np.testing.assert_allclose(aggregate(cost, grey, 0.1, 0.5), semi_global_reference.aggregate(cost, grey, 0.1, 0.5),
                               atol=1e-5)


def test_a_path_pays_for_steps_and_jumps_as_in_hirschmuellers_equation():
    """Two pixels in a row, three labels, along it: L = C + min(0 from the same, 0.1 from the next, jump) less 0."""
    cost = np.array([[[0.0, 1.0, 1.0], [0.5, 0.5, 0.5]]], np.float32)
    forward = [0.5, 0.6, 0.9]  # small is 0.1, large 0.4
    backward = [0.0, 1.0, 1.0]  # all labels of the second pixel cost the same
    total = aggregate(cost, np.zeros((1, 2)), 0.1, 0.4)
    assert total[0, 1].tolist() == pytest.approx([(7 * 0.5 + f) / 8 for f in forward])
    assert total[0, 0].tolist() == pytest.approx(backward)
    at_an_edge = aggregate(cost, np.array([[0.0, 0.03]]), 0.1, 0.4)  # where a jump costs half
    assert at_an_edge[0, 1].tolist() == pytest.approx([(7 * 0.5 + f) / 8 for f in (0.5, 0.6, 0.7)])


def test_a_sweep_finds_a_slanted_plane_between_its_planes(pictures):
    planes = np.linspace(1 / 8, 1 / 2, 24)
    error = (1 / sweep(pictures[0], pictures[1:], planes).depth - 1 / true_depth(pictures[0]))[4:-4, 4:-4]
    assert np.median(np.abs(error)) < 0.15 * (planes[1] - planes[0])
    assert np.quantile(np.abs(error), 0.95) < planes[1] - planes[0]


def test_views_agree_on_the_true_depth_and_on_nothing_a_single_one_shows(pictures, points):
    found = multi_view_depth(pictures, points)
    for picture in found:
        assert picture.depth.shape == (HEIGHT, WIDTH)
        known = picture.depth_weight == 1
        assert known.mean() > 0.6 and np.isfinite(picture.depth).all()
        error = np.abs(picture.depth / true_depth(picture) - 1)[known]
        assert np.median(error) < 0.01 and (error < 0.03).mean() > 0.97
    wrong = [*pictures[:4], looking(0.2, 0.2)]
    wrong[4].rgba_srgb[..., :3] = np.random.default_rng(1).random((HEIGHT, WIDTH, 1))
    weight = multi_view_depth(wrong, points)[4].depth_weight
    assert (weight == 1).mean() < 0.1 and np.unique(weight[weight < 1]) == np.float32(UNSURE)


def test_the_best_neighbour_sees_the_points_from_five_degrees_aside():
    points = np.array([[0.0, 0.0, -4.0]])
    at = [0.0, 0.02, 4 * np.tan(np.radians(5)), 4 * np.tan(np.radians(25))]
    pictures = [looking(x) for x in at]
    seen = np.ones((4, 1), bool)
    assert neighbours(pictures, points, seen, 4)[0] == [2, 3, 1]
    assert neighbours(pictures, points, seen, 1)[3] == [2]
    seen[2] = False
    assert neighbours(pictures, points, seen, 4)[0] == [3, 1] and neighbours(pictures, points, seen, 4)[2] == []


def before_a_plain_wall() -> list[PosedPicture]:
    """Grey pictures that know how far it is to the wall, but for their left half, and nothing else."""
    pictures = []
    for picture in (looking(0), looking(0.3), looking(-0.3)):
        picture.rgba_srgb[..., :3] = 0.5
        depth = true_depth(picture).astype(np.float32)
        depth[:, :WIDTH // 2] = np.nan
        pictures.append(replace(picture, depth=depth))
    return pictures


def test_a_cell_is_free_where_a_picture_sees_through_it_and_none_stops():
    pictures = [replace(p, depth=np.full((HEIGHT, WIDTH), depth, np.float32))
                for p, depth in zip(before_a_plain_wall(), (4.0, 4.0, np.nan), strict=True)]
    lattice = Lattice(np.array([-0.25, -0.25, -5.0]), 0.5, (1, 1, 10))
    cells = np.array([[0, 0, z] for z in range(10)])
    # The voxels' middles are at depths 4.75, 4.25, … 0.25; half a diagonal is 0.43, and 1 % of the depth comes to it.
    assert free_cells(pictures, lattice, cells, 0.005).tolist() == [False] * 3 + [True] * 7
    aside = [False] * 3 + [True] * 6 + [False]  # the second one does not see the last
    assert free_cells(pictures[1:], lattice, cells, 0.005).tolist() == aside
    unsure = replace(pictures[0], depth_weight=np.full((HEIGHT, WIDTH), 0.5, np.float32))
    assert free_cells([unsure, *pictures[1:]], lattice, cells, 0.005).tolist() == aside
    nearer = [*pictures, replace(pictures[0], depth=np.full((HEIGHT, WIDTH), 2.0, np.float32))]
    assert free_cells(nearer, lattice, cells, 0.005).tolist() == [False] * 3 + [True] * 2 + [False] * 2 + [True] * 3


def test_a_ray_ends_at_its_pixels_depth_as_near_as_a_step_and_the_precision_say():
    pictures = before_a_plain_wall()
    pixels, lattice = Pixels(pictures, CPU), Lattice(np.array([-1.0, -1.0, -6.0]), 0.5, (4, 4, 12))
    index = torch.tensor([WIDTH // 2 + 7, 3])
    ends = pixels.ends(index, lattice, 0.1, 2.0)
    rays = pixels.rays(index, lattice)
    place = lattice.lower + lattice.voxel * (rays.origins + ends.distance[:, None] * rays.directions).numpy()
    assert place[0] == pytest.approx(unproject(pictures[0], true_depth(pictures[0]))[0, WIDTH // 2 + 7], abs=1e-4)
    assert ends.weight.tolist() == [2, 0]
    assert ends.deviation[0].item() == pytest.approx(np.hypot(0.1 * ends.distance[0].item(), 1))
    half = replace(pictures[0], depth_weight=np.full((HEIGHT, WIDTH), 0.5, np.float32))
    assert Pixels([half], CPU).ends(index, lattice, 0.1, 2.0).weight.tolist() == [1, 0]
    assert Pixels([looking(0)], CPU).ends(index, lattice, 0.1, 2.0) is None


def test_a_density_fills_where_the_depth_says_though_colours_say_nothing():
    pictures = before_a_plain_wall()
    box = np.array([[-2.0, -1.5, -6.0], [2.0, 1.5, -2.0]])
    trainer = grid.make_trainer(pictures, box, Capture(method="grid", resolution=32), seed=0, device=CPU, points=None)
    for n in range(80):
        trainer.step(n / 80)
    p = pictures[0]
    seen = trainer.result().render(p.fx, p.fy, p.cx, p.cy, WIDTH, HEIGHT, p.world_from_camera)
    error = np.abs(seen.depth / p.depth - 1)[:, WIDTH // 2 + 4:]
    assert np.median(error) < 0.03
    assert np.isfinite(seen.depth).all()  # where nothing is known, light stops too


@pytest.mark.parametrize(("has_alpha", "own", "expected"),
                         [(False, False, "found"), (True, False, "none"), (False, True, "own"), (True, True, "own")])
def test_photos_without_alpha_or_depth_are_compared(has_alpha, own, expected, pictures, points, tmp_path, monkeypatch):
    depth = np.full((HEIGHT, WIDTH), 7.0, np.float32)
    given = [replace(p, has_alpha=has_alpha, depth=depth) for p in pictures]
    taken = []

    def take(pictures, *_, **__):
        taken.extend(pictures)
        raise Cancelled("seen")

    monkeypatch.setattr(grid, "make_trainer", take)
    with pytest.raises(Cancelled):
        fit(given, Capture(method="grid", depth=own), seed=0, device=CPU, box=np.array([[-2.0] * 3, [2.0] * 3]),
            points=points, checkpoint=tmp_path, on_progress=lambda *_: None, on_preview=print)
    if expected == "none":
        assert taken[0].depth is None
    else:
        assert np.nanmedian(taken[0].depth) == pytest.approx(7 if expected == "own" else 4, abs=0.5)
