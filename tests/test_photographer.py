"""Photos made on the fly and the truth beside them: views, light, what a picture keeps of both, and the kernels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats.mesh import Mesh
from maquette.neural.evaluation.single_view import Truth, figures, mean_figures
from maquette.neural.geometry.mirror import normal_of, pose_of
from maquette.neural.kernels import filled_reference, shade_reference
from maquette.neural.kernels.filled import filled
from maquette.neural.kernels.shade import OFF, Scenes, shade
from maquette.neural.predictors import view
from maquette.neural.training import photographer as photography
from maquette.neural.training.corpus import Corpus
from maquette.neural.training.darkroom import develop
from maquette.neural.training.photographer import DEEPEST, Photographer, View, fitted_view, random_view, rotation
from maquette.neural.training.studio import random_studio
from maquette.neural.training.subject import REACH, outer_surface, subject_of

CUBE = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
CUBE_FACES = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6],
              [0, 6, 4], [1, 5, 7], [1, 7, 3]]


def box(size: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    return Mesh(CUBE * size + centre, CUBE_FACES)


def table() -> Mesh:
    """A top on four legs, parts that run into each other, wider than deep."""
    parts = [box((1.0, 0.6, 0.1), (0, 0, 0.3)),
             *(box((0.1, 0.1, 0.65), (x, y, 0.0)) for x in (-0.4, 0.4) for y in (-0.2, 0.2))]
    vertices = np.concatenate([part.vertices for part in parts])
    faces = np.concatenate([part.faces + 8 * number for number, part in enumerate(parts)])
    return Mesh(vertices, faces, colors=np.tile([0.2, 0.5, 0.8], (len(vertices), 1)))


@pytest.fixture(scope="module")
def subjects() -> list[np.void]:
    return [subject_of(mesh)[0] for mesh in (box((1, 1, 1)), table(), box((1.0, 0.1, 0.15)))]


@pytest.fixture(scope="module")
def corpus(subjects: list[np.void], tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("subjects")
    entries = []
    for number, subject in enumerate(subjects):
        np.save(folder / f"{number}.npy", subject.reshape(1))
        entries.append({"name": f"things/{number}", "key": str(number), "family": "things", "draw": 0.5,
                        "symmetry": subject["symmetry"].tolist(), "faces": len(subject["corners"])})
    (folder / "index.json").write_text(json.dumps({"models": entries, "left_out": []}))
    return Corpus(folder / "index.json", folder)


@pytest.fixture
def photographer(corpus: Corpus) -> Photographer:
    return Photographer(corpus, [0, 1, 2], seed=3)


def plain_scene(subject: np.void, seen: View, color: tuple[float, float, float] = (0.5, 0.25, 1.0)) -> Scenes:
    """A subject of one colour under a white sky that is the same from above and below, without other light."""
    studio = random_studio(np.random.default_rng(0))
    paint = np.zeros((3, 4))
    paint[:, 3] = color
    studio = studio._replace(paint=paint, grain=np.zeros(2), gloss=np.zeros(2), ambient=np.ones((2, 3)),
                             lights=np.zeros_like(studio.lights), hiding=np.zeros(2))
    return photography.scenes_of([(subject, seen)], [studio])


def test_a_cube_seen_straight_fills_its_share_of_the_crop(subjects: list[np.void]) -> None:
    seen = fitted_view(CUBE, azimuth=-np.pi / 2, elevation=0.0, roll=0.0, distance=4.0)
    # Its front is nearer than z = 0 by half its side s, so that s / 2 · 4 / (4 − s / 2) = 0.85.
    half = 0.85 / (1 + 0.85 / 4)
    assert seen.scale == pytest.approx(2 * half, abs=2e-5)
    np.testing.assert_allclose(seen.view_from_subject[:, 3], 0, atol=1e-5)
    # The camera stands at −y: the subject's x is the picture's right, its z is up, and −y is toward the camera.
    turned = seen.view_from_subject[:, :3] / seen.scale
    np.testing.assert_allclose(turned, [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-9)


def test_a_camera_at_x_and_above_sees_y_to_the_right() -> None:
    turned = rotation(azimuth=0.0, elevation=np.radians(30), roll=0.0)
    np.testing.assert_allclose(turned @ [0, 1, 0], [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(turned @ [0, 0, 1], [0, np.cos(np.radians(30)), 0.5], atol=1e-9)


def test_a_roll_turns_the_picture_counter_clockwise() -> None:
    turned = rotation(azimuth=0.0, elevation=0.0, roll=np.radians(10))
    assert (turned @ [0, 0, 1])[0] == pytest.approx(-np.sin(np.radians(10)))


@settings(max_examples=40, deadline=None)
@given(azimuth=st.floats(-3.1, 3.1), elevation=st.floats(-0.5, 1.2), roll=st.floats(-0.1, 0.1),
       field=st.floats(8, 45), seed=st.integers(0, 99))
def test_a_fitted_view_centres_the_outline_and_the_depth(azimuth: float, elevation: float, roll: float, field: float,
                                                         seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-0.5, 0.5, (20, 3))
    seen = fitted_view(points, azimuth, elevation, roll, view.distance_of(np.radians(field)))
    placed = seen.place(points)
    assert placed[:, 2].max() == pytest.approx(-placed[:, 2].min(), abs=1e-9)
    places = view.project(torch.from_numpy(placed)[None], torch.tensor([seen.distance])).numpy()[0]
    low, high = places.min(axis=0), places.max(axis=0)
    np.testing.assert_allclose(low + high, 0, atol=2e-4)
    assert (high - low).max() / 2 == pytest.approx(view.FILL, abs=2e-4)


def test_no_view_is_deeper_than_its_crop_is_wide(subjects: list[np.void]) -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        seen = random_view(subjects[2], random)
        assert np.abs(seen.place(subjects[2]["corners"].reshape(-1, 3))[:, 2]).max() <= DEEPEST + 1e-5


def test_the_mask_is_the_projected_outline(subjects: list[np.void]) -> None:
    seen = fitted_view(CUBE, 0.6, 0.5, 0.05, 3.0)
    alpha = shade(plain_scene(subjects[0], seen), 96, 1)[0, ..., 3]
    # The outline of a convex solid is that of its projected corners: a pixel is in it if it is left of all sides.
    from scipy.spatial import ConvexHull
    places = view.project(torch.from_numpy(seen.place(CUBE))[None], torch.tensor([3.0])).numpy()[0]
    sides = ConvexHull(places).equations
    axis = (np.arange(96) + 0.5) / 48 - 1
    x, y = np.meshgrid(axis, axis)
    inside = (sides[:, 0, None, None] * x + sides[:, 1, None, None] * y + sides[:, 2, None, None] <= 0).all(axis=0)
    assert (inside != (alpha > 0)).sum() <= 2


def test_an_even_sky_shows_the_colour_itself(subjects: list[np.void]) -> None:
    picture = shade(plain_scene(subjects[1], fitted_view(CUBE, 0.3, 0.4, 0.0, 3.0)), 32)[0]
    full = picture[..., 3] == 1
    assert full.sum() > 100
    np.testing.assert_allclose(picture[full][:, :3], np.tile([0.5, 0.25, 1.0], (full.sum(), 1)), atol=1e-5)
    np.testing.assert_allclose(picture[..., :3], picture[..., 3:] * [0.5, 0.25, 1.0], atol=1e-5)


def test_light_falls_by_the_cosine_and_from_the_front_alone(subjects: list[np.void]) -> None:
    scene = plain_scene(subjects[0], fitted_view(CUBE, -np.pi / 2, 0.0, 0.0, 4.0), (1, 1, 1))
    lights = np.zeros((1, 2, 2, 3), np.float32)
    lights[0, 0] = np.array([[0, -np.cos(1.0), np.sin(1.0)], [0.5, 0.5, 0.5]])  # one radian above the normal, −y
    lights[0, 1] = np.array([[0, 1, 0], [9, 9, 9]])  # from behind
    lit = replace(scene, ambient=np.zeros((1, 2, 3), np.float32), lights=lights)
    assert shade(lit, 32)[0, 16, 16, 0] == pytest.approx(0.5 * np.cos(1.0), abs=1e-5)


def test_a_table_casts_its_shadow_and_hides_the_sky_below(subjects: list[np.void]) -> None:
    seen = fitted_view(subjects[1]["hull"].astype(float), 0.7, -0.4, 0.0, 4.0)  # from below
    scene = plain_scene(subjects[1], seen, (1, 1, 1))
    opened = shade(scene, 48)[0, ..., :3].sum()
    assert shade(replace(scene, hiding=np.array([[1, 0]], np.float32)), 48)[0, ..., :3].sum() < 0.95 * opened
    lights = np.zeros((1, 1, 2, 3), np.float32)
    lights[0, 0] = np.array([[0.6, 0, 0.8], [1, 1, 1]])
    sunny = replace(scene, ambient=np.zeros((1, 2, 3), np.float32), lights=lights)
    free = shade(sunny, 48)[0, ..., 0].sum()
    assert 0 < shade(replace(sunny, hiding=np.array([[0, 20]], np.float32)), 48)[0, ..., 0].sum() < 0.9 * free
    assert max(OFF) < 0.125  # the grid tells no greater distance


def test_the_kernel_shades_as_its_reference_does(subjects: list[np.void]) -> None:
    random = np.random.default_rng(5)
    shots = [(subject, random_view(subject, random)) for subject in subjects for _ in range(3)]
    scenes = photography.scenes_of(shots, [random_studio(random) for _ in shots])
    assert (scenes.grain[:, 0] > 0).any() and (scenes.gloss[:, 0] > 0).any() and (scenes.hiding[:, 1] > 0).any()
    # Only a sample on an edge may fall to the one side here and to the other there.
    apart = np.abs(shade(scenes, 40) - shade_reference.shade(scenes, 40, 2)).max(axis=3)
    assert np.quantile(apart, 0.999) < 1e-4


def test_the_kernel_fills_grids_as_its_reference_does(subjects: list[np.void]) -> None:
    random = np.random.default_rng(6)
    views = [random_view(subject, random) for subject in subjects]
    given_arrays = (np.stack([s["grid"] for s in subjects]), REACH / 127, np.stack([s["spacing"] for s in subjects]),
                    np.stack([one.view_from_subject for one in views]).astype(np.float32),
                    np.array([one.distance for one in views], np.float32))
    for reach in (0.0, 0.4):
        fast, plain = filled(*given_arrays, 20, reach), filled_reference.filled(*given_arrays, 20, reach)
        assert fast.sum() > 100
        assert (fast != plain).sum() <= 1


def test_a_filled_cube_is_where_it_is_seen(subjects: list[np.void]) -> None:
    seen = fitted_view(CUBE, -np.pi / 2, 0.0, 0.0, 4.0)
    grid = photography.filled_grids(subjects[:1], [seen], 24)[0].astype(bool)
    centres = view.frustum_centres(24, torch.tensor([4.0]))[0].numpy()
    depth = np.abs(centres).max(axis=-1) - 0.85 / (1 + 0.85 / 4)
    assert (grid == (depth < 0))[np.abs(depth) > 2e-3].all()


def test_what_is_filled_reaches_as_far_as_it_is_told(subjects: list[np.void]) -> None:
    seen = fitted_view(CUBE, -np.pi / 2, 0.0, 0.0, 1000.0)  # without perspective the cube's half side is 0.85
    whole = photography.filled_grids(subjects[:1], [seen], 20)[0].sum(axis=(1, 2))
    wider = photography.filled_grids(subjects[:1], [seen], 20, reach=0.4)[0].sum(axis=(1, 2))
    # Centres lie at 0.05 + 0.1 n: 0.85 is the border itself, 0.4 voxels farther is 0.89.
    assert (whole > 0).sum() <= 18 and whole.max() <= 18**2
    assert (wider > 0).sum() == 18 and wider.max() == 18**2 and wider.sum() == 18**3


def test_a_batch_without_a_grid_has_none(photographer: Photographer) -> None:
    assert photographer.batch(0, 2, points=8).filled.shape == (2, 0, 0, 0)
    assert photographer.batch(0, 2, points=8, reach=0.5).filled.shape == (2, 0, 0, 0)


def test_points_lie_in_the_mask_and_on_the_border_of_what_is_filled(photographer: Photographer) -> None:
    batch = photographer.batch(0, 6, points=500, grid=32)
    alpha = batch.images[:, 0, 3:4]
    wider = torch.nn.functional.max_pool2d(alpha, 5, 1, 2)
    places = view.project(batch.points, batch.distance)
    seen = torch.nn.functional.grid_sample(wider, places[:, :, None], align_corners=False)
    assert (seen > 0.2).float().mean() > 0.995
    for points, normals, distance, grid in zip(batch.points, batch.normals, batch.distance, batch.filled, strict=True):
        for side, inside in ((-0.08, True), (0.08, False)):
            moved = points + side * normals
            flat = view.project(moved[None], distance[None])[0]
            index = torch.column_stack((-moved[:, 2:], flat.flip(1)))  # slice, row, column
            index = ((index + 1) * 16).long()
            within = ((index >= 0) & (index < 32)).all(dim=1)
            found = grid[tuple(index[within].T)] > 0.5
            # Where the solid is thinner than the step the point comes out on its other side.
            assert (found == inside).float().mean() > (0.5 if inside else 0.85)


def test_normals_point_outward_and_are_of_unit_length(photographer: Photographer) -> None:
    batch = photographer.batch(1, 4, points=300)
    torch.testing.assert_close(batch.normals.norm(dim=-1), torch.ones(4, 300))
    for index in range(3):
        still = photographer.still(index, 0, points=400)
        # The flux of the place through a closed surface is thrice the volume.
        assert ((still.points * still.normals).sum(dim=-1).mean() > 0)


def test_batches_depend_on_the_seed_and_the_step_alone(corpus: Corpus) -> None:
    first, again = (Photographer(corpus, [0, 1, 2], seed=1).batch(7, 3, views=2, points=64, grid=8) for _ in range(2))
    for name, value in vars(first).items():
        torch.testing.assert_close(value, getattr(again, name), rtol=0, atol=0)
    other = Photographer(corpus, [0, 1, 2], seed=2).batch(7, 3, views=2, points=64)
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (3, 2, 6, 128, 128)
    assert not torch.equal(first.images[:, 0], first.images[:, 1])


def test_a_still_is_the_same_whatever_else_the_corpus_holds(corpus: Corpus) -> None:
    one, other = Photographer(corpus, [1], seed=1), Photographer(corpus, [0, 1], seed=2)
    torch.testing.assert_close(one.still(1, 4).images, other.still(1, 4).images, rtol=0, atol=0)
    assert not torch.equal(one.still(1, 4).images, one.still(1, 5).images)


def test_the_truth_of_a_still_is_what_its_points_say(photographer: Photographer) -> None:
    truth = photographer.truth(1, 2)
    batch = photographer.still(1, 2)
    assert truth.surface is not None
    assert truth.distance(batch.points[0].double().numpy()).max() < 0.02
    found = figures(truth.surface, truth)
    assert found["chamfer"] < 1e-3 and found["iou"] > 0.999


def test_images_are_premultiplied_and_within_range(photographer: Photographer) -> None:
    images = photographer.batch(2, 6, points=8).images[:, 0]
    assert images[:, :4].min() >= 0 and images[:, :4].max() <= 1
    assert (images[:, :3] <= images[:, 3:4] + 1e-5).all()
    assert (images[:, 3, 0] == 0).all()


def test_the_darkroom_encodes_and_exposes() -> None:
    linear = torch.zeros(1, 4, 16, 16)
    linear[:, 3] = 1
    linear[:, :3] = 0.2
    made = [develop(linear, np.random.default_rng(seed))[0, :3, 8, 8].mean() for seed in range(30)]
    assert 0.35 < np.median(made) < 0.65  # 0.2 linear is 0.48
    assert np.std(made) > 0.05


@pytest.mark.parametrize("azimuth, elevation", [(0.3, 0.4), (-2.0, 0.1), (2.9, -0.3), (1.2, 1.0)])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_mirror_plane_is_found_again_from_the_pose(azimuth: float, elevation: float, axis: int) -> None:
    pose = pose_of(azimuth, elevation, np.eye(2)[axis])
    expected = rotation(azimuth, elevation, 0.0) @ np.eye(3)[axis]
    expected *= np.sign(expected[0])
    np.testing.assert_allclose(normal_of(pose), expected, atol=1e-6)
    assert pose[3] == 1 and pose[0] == pytest.approx(np.sin(elevation))


def test_of_two_mirror_planes_the_one_along_the_view_is_told() -> None:
    both = np.array([1.0, 0.98])
    for azimuth in np.radians([-90, -60, 100]):  # the camera looks along y: left and right are mirrored at x = 0
        assert abs(normal_of(pose_of(azimuth, 0.2, both)) @ rotation(azimuth, 0.2, 0)[:, 0]) == pytest.approx(1)
    for azimuth in np.radians([0, 30, 170]):
        assert abs(normal_of(pose_of(azimuth, 0.2, both)) @ rotation(azimuth, 0.2, 0)[:, 1]) == pytest.approx(1)


def test_figures_of_a_moved_box_are_worked_by_hand() -> None:
    cube = subject_of(box((1, 1, 1)))[0]
    truth = Truth(cube["points"].astype(float), outer_surface(cube))
    moved = box((1, 1, 1), (0.1, 0, 0))
    found = figures(moved, truth)
    # One of the sides across is off by 0.1. The other is, too, but nearer to the four along within 0.1 of its border:
    # ∫ (1 − 2t)² dt up to 0.1 is (1 − 0.8³) / 6. On the four 0.1 overhangs, which is off by 0.05 on average.
    assert found["chamfer"] == pytest.approx((0.1 + (1 - 0.8**3) / 6 + 4 * 0.1 * 0.05) / 6 / np.sqrt(3), rel=0.03)
    assert found["iou"] == pytest.approx(0.9 / 1.1, abs=0.02)
    for name, share in (("f_1", 0.01), ("f_2", 0.02), ("f_5", 0.05)):
        near = share * np.sqrt(3)
        assert found[name] == pytest.approx((1 - (1 - 2 * near)**2 + 4 * (0.9 + near)) / 6, abs=0.015)


def test_nothing_is_as_far_off_as_the_diagonal() -> None:
    cube = subject_of(box((1, 1, 1)))[0]
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3)))
    assert figures(empty, Truth(cube["points"], outer_surface(cube))) == {
        "chamfer": 1.0, "f_1": 0.0, "f_2": 0.0, "f_5": 0.0, "iou": 0.0}
    assert "iou" not in figures(box((1, 1, 1)), Truth(cube["points"]))


def test_a_mean_is_over_those_that_have_the_figure() -> None:
    assert mean_figures([{"chamfer": 1.0, "iou": 0.5}, {"chamfer": 2.0}]) == {"chamfer": 1.5, "iou": 0.5}
