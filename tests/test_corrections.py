"""Exposure, white balance and views that do not belong: told, corrected, resumed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from maquette.formats.meshes import linear_from_srgb
from maquette.formats.pictures import srgb_from_linear
from maquette.neural.fields.common import Rendered
from maquette.neural.geometry.agreement import agreeing, check_cameras
from maquette.neural.geometry.exposure import exposed, in_exposure_of, log_gain, relative
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.rendering.lattice import Lattice
from maquette.neural.rendering.rays import Pixels
from maquette.neural.training.corrections import Corrected, Corrections
from maquette.neural.training.grid import GridTrainer
from maquette.recipes.capture import Capture

CPU = torch.device("cpu")
BOX = np.array([[-0.55] * 3, [0.55] * 3])
SECONDS = 1e6  # so that no look is too slow


def photo(random, size=16):
    """A straight picture (H, W, 4), opaque, neither dark nor clipped."""
    return np.dstack([random.uniform(0.2, 0.7, (size, size, 3)), np.ones((size, size))]).astype(np.float32)


def test_a_gain_acts_on_the_light():
    rgba = photo(np.random.default_rng(0))
    gain = np.array([1.4, 1.0, 0.7])
    expected = srgb_from_linear(gain * linear_from_srgb(rgba[..., :3]))
    assert np.abs(exposed(rgba, gain)[..., :3] - expected).max() < 1e-6


def test_a_gain_leaves_black_black_and_alpha_alone():
    rgba = np.zeros((1, 3, 4), np.float32)
    rgba[0, 1] = (0.02, 0.02, 0.02, 1.0)  # on the curve's straight foot
    rgba[0, 2] = (0.25, 0.25, 0.25, 0.5)  # 0.5, premultiplied
    result = exposed(rgba, np.array([1.5, 1.5, 0.5]))
    assert np.allclose(result[0, 0], 0)
    assert np.allclose(result[0, 1], [0.03, 0.03, 0.01, 1.0])
    half = srgb_from_linear(linear_from_srgb(np.array(0.5)) * np.array([1.5, 1.5, 0.5]))
    assert np.allclose(result[0, 2], [*(half / 2), 0.5], atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.floats(0.6, 1.6)] * 3), st.integers(0, 99))
def test_a_gain_is_told_from_two_pictures_though_a_fifth_of_one_is_another(gain, seed):
    random = np.random.default_rng(seed)
    seen = photo(random)
    taken = exposed(seen, np.array(gain))
    taken[:3, :, :3] = random.uniform(0.1, 0.9, (3, 16, 3))
    told, variance = log_gain(taken[..., :3], seen[..., :3], np.ones((16, 16), bool))
    assert np.abs(told - np.log(gain)).max() < 0.02
    assert (variance < 0.01).all()


def test_what_is_dark_or_clipped_tells_no_gain():
    dark, clipped = np.full((16, 16, 3), 0.01), np.ones((16, 16, 3))
    everywhere = np.ones((16, 16), bool)
    for picture in (dark, clipped):
        assert np.isnan(log_gain(picture, picture, everywhere)[0]).all()
        rgba = np.dstack([picture, everywhere])
        assert np.allclose(in_exposure_of(rgba, rgba), rgba)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 12), st.integers(0, 999), st.floats(0, 0.3))
def test_gains_are_relative_to_their_mean(count, seed, spread):
    random = np.random.default_rng(seed)
    logs = random.normal(0.4, spread, (count, 3))
    logs[0, 1] = np.nan
    gains = relative(logs, np.full((count, 3), 1e-6))
    assert np.allclose(np.log(gains)[1:].mean(0), 0)  # the unknown one stays at the mean
    assert (gains[0] == 1).all()
    # All brighter by the same is none brighter.
    assert np.allclose(relative(logs + 0.7, np.full((count, 3), 1e-6)), gains)


def test_what_is_less_than_its_noise_is_no_gain_and_what_is_more_is_kept():
    logs = np.random.default_rng(0).normal(0, 0.03, (20, 3))
    assert (relative(logs, np.full((20, 3), 0.03**2)) == 1).all()
    gains = np.log(relative(10 * logs, np.full((20, 3), 0.03**2)))
    assert np.abs(gains - 10 * (logs - logs.mean(0))).max() < 0.06


class Known:
    """A field that shows of every view what the given pictures show, by their cameras' places."""

    def __init__(self, pictures):
        self.pictures = {tuple(p.world_from_camera[:3, 3].round(6)): p for p in pictures}

    def render(self, fx, fy, cx, cy, width, height, world_from_camera):
        rgba = self.pictures[tuple(world_from_camera[:3, 3].round(6))].rgba_srgb
        s = -(-rgba.shape[0] // height)
        alpha = rgba[::s, ::s, 3]
        return Rendered(rgba[::s, ::s, :3], alpha, np.where(alpha > 0, 1.5, np.nan), np.zeros((*alpha.shape, 3)))


def with_gains(pictures, spread):
    random = np.random.default_rng(1)
    gains = np.exp(random.normal(0, spread, (len(pictures), 3)))
    taken = [replace(p, rgba_srgb=exposed(p.rgba_srgb, g)) for p, g in zip(pictures, gains, strict=True)]
    train = [n for n, p in enumerate(pictures) if p.split == "train"]
    return taken, np.exp(np.log(gains) - np.log(gains[train]).mean(0))[train]


def test_exposures_are_told_and_taken_away(ball):
    pictures = ball()
    taken, gains = with_gains(pictures, 0.1)
    corrections = Corrections(taken, SECONDS)
    corrections.look(Known(pictures), 0.5)
    assert np.abs(np.log(corrections.gain / gains)).max() < 0.02
    train = [p for p in pictures if p.split == "train"]
    mean = np.exp(np.log(gains).mean(0))
    for truth, now in zip(train, corrections.pictures, strict=True):
        assert np.abs(now.rgba_srgb - exposed(truth.rgba_srgb, mean)).max() < 0.02
    report, warnings = {}, []
    corrections.tell(report, warnings.append)
    assert report["exposure"][train[3].name] == pytest.approx(gains[3], abs=0.02) and not warnings


def test_one_exposure_is_left_alone_to_the_bit(ball):
    pictures = ball()
    corrections = Corrections(pictures, SECONDS)
    corrections.look(Known(pictures), 0.5)
    report, warnings = {}, []
    corrections.tell(report, warnings.append)
    assert report == {} and warnings == []
    applied = corrections.applied(pictures)
    assert all(a.rgba_srgb is p.rgba_srgb for a, p in zip(applied, pictures, strict=True))


def test_a_photo_that_shows_another_thing_counts_for_nothing_and_is_named(ball):
    pictures = ball(has_alpha=False)
    taken = list(pictures)
    taken[5] = replace(taken[5], rgba_srgb=taken[18].rgba_srgb)
    noise = np.random.default_rng(0).normal(0, 0.02, (len(taken), 64, 64, 4)).astype(np.float32)
    noise[..., 3] = 0
    taken = [replace(p, rgba_srgb=p.rgba_srgb + n) for p, n in zip(taken, noise, strict=True)]
    corrections = Corrections(taken, SECONDS)
    corrections.look(Known(pictures), 0.05)
    assert (corrections.weight == 1).all()  # too early to tell
    corrections.look(Known(pictures), 0.5)
    report, warnings = {}, []
    corrections.tell(report, warnings.append)
    assert report["weights"] == {"5.png": 0.0}
    assert len(warnings) == 1 and "1 of 21" in warnings[0] and "5.png" in warnings[0]
    assert [p.name for p in pictures if p.name != "5.png"] == [p.name for p in corrections.applied(taken)]


def test_pixels_take_corrected_colours_cameras_and_weights(ball):
    pictures = ball(count=3, size=16)
    weight = np.ones((16, 16), np.float32)
    weight[:4] = 0
    pictures[1] = replace(pictures[1], weight=weight)
    pixels, lattice = Pixels(pictures, CPU), Lattice.over(BOX, 8)
    every = torch.arange(len(pixels))
    before, colours = pixels.rays(every, lattice), pixels.rgba.clone()
    random = torch.Generator().manual_seed(0)
    assert pixels.drawn(every, random).all()

    brighter = replace(pictures[1], rgba_srgb=2 * pictures[1].rgba_srgb)
    assert not pixels.correct([pictures[0], brighter, pictures[2]], [1.0, 0.25, 0.0])
    assert torch.equal(pixels.rgba[:256], colours[:256])
    assert torch.equal(pixels.rgba[256:448], 2 * colours[256:448])
    drawn = pixels.drawn(every, random)
    assert drawn[:256].all() and not drawn[448:].any()
    assert 20 < drawn[256:448].sum() < 76  # a quarter of 192

    pose = pictures[2].world_from_camera + np.pad([[0.1]], ((0, 3), (3, 0)))
    assert pixels.correct([pictures[0], brighter, replace(pictures[2], world_from_camera=pose)], [1.0] * 3)
    after = pixels.rays(every, lattice)
    torch.testing.assert_close(after.origins[:448], before.origins[:448])
    torch.testing.assert_close(after.origins[448:] - before.origins[448:],
                               torch.tensor([0.1 / lattice.voxel, 0, 0]).expand(256, 3), atol=1e-4, rtol=1e-4)


def trainer_of(pictures):
    train = [p for p in pictures if p.split == "train"]
    trainer = GridTrainer(train, BOX, Capture(method="grid", resolution=24), seed=0, device=CPU)
    return Corrected(trainer, Corrections(pictures, SECONDS))


def test_a_corrected_training_goes_on_to_the_bit(ball):
    taken, _ = with_gains(ball(), 0.15)
    taken[3] = replace(taken[3], rgba_srgb=taken[12].rgba_srgb)
    through, stopped = trainer_of(taken), trainer_of(taken)
    for n in range(50):
        through.step(n / 80)
        stopped.step(n / 80)
    resumed = trainer_of(taken)
    resumed.load_state({name: value.clone() for name, value in stopped.state().items()})
    for n in range(50, 60):  # with a look among them
        assert through.step(n / 80) == pytest.approx(resumed.step(n / 80), rel=1e-6)
    torch.testing.assert_close(through.field().rows.table, resumed.field().rows.table, atol=1e-5, rtol=1e-5)


def test_exposures_are_found_while_the_field_is_learnt(ball):
    taken, gains = with_gains(ball(), 0.15)
    trainer = trainer_of(taken)
    for n in range(120):
        trainer.step(n / 120)
    found = trainer._corrections.gain
    assert np.corrcoef(np.log(found).ravel(), np.log(gains).ravel())[0, 1] > 0.7


def test_an_outline_that_cuts_the_subject_is_left_out_and_named(ball):
    pictures = ball()
    warnings = []
    assert agreeing(pictures, warnings.append) == pictures and warnings == []
    moved = list(pictures)
    for n in (5, 17):
        moved[n] = replace(moved[n], rgba_srgb=np.roll(moved[n].rgba_srgb, (9, -7), (0, 1)))
    left = agreeing(moved, warnings.append)
    assert [p.name for p in pictures if p.name not in ("5.png", "17.png")] == [p.name for p in left]
    assert warnings == ["views: 2 of 21 contradict the others' outlines (5.png, 17.png); they are left out"]


def test_a_twig_thinner_than_what_is_looked_at_contradicts_nothing(ball):
    """A rod of a pixel's width through the origin: no middle of a cell is in its outlines."""
    pictures = []
    for p in ball():
        t = np.linspace(-0.5, 0.5, 400)[:, None] * np.array([0.6, 0.5, 0.62])
        x, y, z = ((t - p.world_from_camera[:3, 3]) @ p.world_from_camera[:3, :3]).T
        rgba = np.zeros((64, 64, 4), np.float32)
        rgba[(p.cy + p.fy * y / z).astype(int), (p.cx - p.fx * x / z).astype(int)] = 1
        pictures.append(replace(p, rgba_srgb=rgba))
    warnings = []
    assert agreeing(pictures, warnings.append) == pictures and warnings == []


def test_where_all_outlines_contradict_each_other_none_is_left_out(ball):
    pictures = ball(centre=(0.6, 0.0, 0.0))
    shuffled = [replace(p, world_from_camera=q.world_from_camera)
                for p, q in zip(pictures, pictures[7:] + pictures[:7], strict=True)]
    for p in range(0, len(shuffled), 2):
        shuffled[p] = replace(shuffled[p], rgba_srgb=np.roll(shuffled[p].rgba_srgb, 12, 1))
    warnings = []
    assert agreeing(shuffled, warnings.append) == shuffled
    assert len(warnings) == 1 and "contradict each other" in warnings[0]


def test_pixels_that_are_not_known_shut_nothing_out(ball):
    pictures = ball()
    weight = np.ones((64, 64), np.float32)
    weight[:, 24:40] = 0
    hidden = np.where(weight[..., None] > 0, pictures[5].rgba_srgb, 0)
    warnings = []
    pictures[5] = replace(pictures[5], rgba_srgb=hidden, weight=weight)
    assert agreeing(pictures, warnings.append) == pictures and warnings == []
    pictures[5] = replace(pictures[5], weight=None)
    assert len(agreeing(pictures, warnings.append)) == 23 and len(warnings) == 1


def pictures_of_a_poster(count=6, size=160):
    """A poster of blots on z = 0, seen from places above it with no turn."""
    random = np.random.default_rng(0)
    poster = gaussian_filter(random.uniform(0, 1, (400, 400, 3)), (2.5, 2.5, 0))
    poster = (poster - poster.min()) / np.ptp(poster)
    made = []
    for n in range(count):
        pose = np.eye(4)
        pose[:3, 3] = (*random.uniform(-0.3, 0.3, 2), random.uniform(1.8, 2.2))
        at = (np.arange(size) + 0.5 - size / 2) / (1.5 * size)
        x, y = np.meshgrid(pose[0, 3] + pose[2, 3] * at, pose[1, 3] - pose[2, 3] * at)
        rgb = np.stack([map_coordinates(poster[..., c], [200 - 200 * y, 200 + 200 * x], order=1) for c in range(3)], -1)
        made.append(PosedPicture(f"{n}", np.dstack([rgb, np.ones((size, size))]).astype(np.float32), 1.5 * size,
                                 1.5 * size, size / 2, size / 2, pose, has_alpha=False))
    return made


def test_cameras_that_do_not_belong_to_their_pictures_are_told_in_pixels():
    views, warnings = pictures_of_a_poster(), []
    check_cameras(views, warnings.append)
    assert warnings == []
    other = views[2:] + views[:2]
    check_cameras([replace(v, world_from_camera=o.world_from_camera) for v, o in zip(views, other, strict=True)],
                  warnings.append)
    assert len(warnings) == 1 and "px from where the cameras have them" in warnings[0]


def test_pictures_in_which_nothing_matches_say_nothing_of_their_cameras(ball):
    warnings = []
    check_cameras(ball(), warnings.append)
    assert warnings == []
