"""Opaque pictures before one plain colour: alpha is told by it, or all stays as it was."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.formats.capture import Camera, Capture, View
from maquette.neural.geometry.plain_backdrop import without_backdrop
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.geometry.views import load_views

BACKDROPS = [(0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.25, 0.25, 0.25)]
FINE = 4  # times: how finely a pixel is divided before it is averaged


@pytest.fixture
def smooth(ball: Callable[..., list[PosedPicture]]) -> list[PosedPicture]:
    """The ball's pictures, 64² pixels with soft outlines, whose colours are 0.4 to 1."""
    made = []
    for p in ball(size=64 * FINE):
        rgba = p.rgba_srgb.copy()
        rgba[..., :3] = 0.6 * rgba[..., :3] + 0.4 * rgba[..., 3:]
        rgba = rgba.reshape(64, FINE, 64, FINE, 4).mean((1, 3)).astype(np.float32)
        made.append(replace(p, rgba_srgb=rgba, depth=None, fx=p.fx / FINE, fy=p.fy / FINE, cx=p.cx / FINE,
                            cy=p.cy / FINE))
    return made


def over(pictures: list[PosedPicture], color: tuple[float, float, float], noise: float = 0.0) -> list[PosedPicture]:
    """The same as 8-bit pictures without alpha."""
    random, opaque = np.random.default_rng(0), []
    for p in pictures:
        rgb = p.rgba_srgb[..., :3] + (1 - p.rgba_srgb[..., 3:]) * np.array(color)
        rgb = np.round((rgb + random.uniform(-noise, noise, rgb.shape)).clip(0, 1) * 255) / 255
        rgba = np.dstack([rgb, np.ones(rgb.shape[:2])]).astype(np.float32)
        opaque.append(replace(p, rgba_srgb=rgba, has_alpha=False))
    return opaque


def test_the_ball_has_soft_outlines(smooth: list[PosedPicture]) -> None:
    alpha = np.stack([p.rgba_srgb[..., 3] for p in smooth])
    assert 0.02 < np.mean((alpha > 0) & (alpha < 1)) < 0.1


@pytest.mark.parametrize("color", BACKDROPS)
def test_a_picture_before_one_colour_gets_the_alpha_it_had(smooth, color) -> None:
    for was, now in zip(smooth, without_backdrop(over(smooth, color)), strict=True):
        assert now.has_alpha
        away = np.abs(now.rgba_srgb - was.rgba_srgb)
        edge = (was.rgba_srgb[..., 3] > 0) & (was.rgba_srgb[..., 3] < 1)
        assert away[edge].mean() < 0.06 and away[~edge].max() < 0.1


def test_a_backdrop_may_vary_as_a_jpegs_does(smooth) -> None:
    for was, now in zip(smooth, without_backdrop(over(smooth, (0, 0, 0), noise=1.5 / 255)), strict=True):
        assert now.has_alpha and np.mean((now.rgba_srgb[..., 3] > 0.5) ^ (was.rgba_srgb[..., 3] > 0.5)) < 0.005


def test_through_a_hole_the_backdrop_is_seen_but_a_few_pixels_of_its_colour_are_the_subjects(smooth) -> None:
    pictures = over(smooth, (0, 0, 0))
    rgba = pictures[0].rgba_srgb.copy()
    rgba[30:34, 28:32, :3] = 0  # 16 pixels
    rgba[30:32, 40:43, :3] = 0  # 6
    found = without_backdrop([replace(pictures[0], rgba_srgb=rgba), *pictures[1:]])[0].rgba_srgb[..., 3]
    assert (found[30:34, 28:32] == 0).all()
    assert (found[30:32, 40:43] == 1).all()


def test_a_hair_as_wide_as_half_a_pixel_is_half_transparent(smooth) -> None:
    """Where no pixel is the subject's alone, the one that differs most is taken for it."""
    pictures = over(smooth, (1, 1, 1))
    rgba = pictures[0].rgba_srgb.copy()
    rgba[3:9, 31:33, :3] = 0.0  # two pixels wide
    rgba[3:9, 30, :3] = 0.5  # and a half
    found = without_backdrop([replace(pictures[0], rgba_srgb=rgba), *pictures[1:]])[0].rgba_srgb
    assert found[5, 29:34, 3] == pytest.approx([0, 0.5, 1, 1, 0], abs=0.01)
    assert found[5, 30, :3] == pytest.approx([0, 0, 0], abs=0.01)  # black, of which there is half


def test_a_subject_that_is_partly_as_its_backdrop_stays_opaque(smooth) -> None:
    white = [replace(p, rgba_srgb=np.where(p.rgba_srgb[..., 2:3] > 0.65, p.rgba_srgb[..., 3:], p.rgba_srgb))
             for p in smooth]
    opaque = over(white, (1, 1, 1))
    assert without_backdrop(opaque) == opaque


def test_photos_of_a_room_and_pictures_with_alpha_stay_as_they_are(smooth) -> None:
    assert without_backdrop(smooth) == smooth
    room = over(smooth, (0.2, 0.3, 0.4), noise=0.1)
    assert without_backdrop(room) == room
    black_and_white = [*over(smooth[:12], (0, 0, 0)), *over(smooth[12:], (1, 1, 1))]
    assert without_backdrop(black_and_white) == black_and_white
    assert without_backdrop([]) == []


def test_too_few_pictures_to_tell_and_empty_ones_stay_as_they_are(smooth) -> None:
    few = over(smooth, (0, 0, 0))[:7]
    assert without_backdrop(few) == few
    empty = [replace(p, rgba_srgb=np.ones((64, 64, 4), np.float32), has_alpha=False) for p in smooth]
    assert without_backdrop(empty) == empty


def test_what_is_not_known_is_no_backdrop_and_shows_nothing(smooth) -> None:
    weight = np.ones((64, 64), np.float32)
    weight[:6] = 0
    pictures = []
    for p in over(smooth, (0, 1, 0)):
        rgba = p.rgba_srgb * np.dstack([np.repeat(weight[..., None], 3, 2), np.ones((64, 64))])
        pictures.append(replace(p, rgba_srgb=rgba.astype(np.float32), weight=weight))
    found = without_backdrop(pictures)
    assert all(p.has_alpha and (p.rgba_srgb[:6] == 0).all() for p in found)
    assert np.abs(found[0].rgba_srgb[8:, :, 3] - smooth[0].rgba_srgb[8:, :, 3]).mean() < 0.01


def test_files_without_alpha_before_one_colour_are_read_as_transparent_and_it_is_said(smooth, tmp_path: Path) -> None:
    views = []
    for p in over(smooth, (1, 1, 1)):
        Image.fromarray((p.rgba_srgb[..., :3] * 255).round().astype(np.uint8)).save(tmp_path / p.name)
        views.append(View(p.name, Camera(64, 64, p.fx, p.fy, p.cx, p.cy), p.world_from_camera, p.name))
    warnings: list[str] = []
    found = load_views(Capture(tmp_path, tuple(views)), warnings.append)
    assert all(p.has_alpha for p in found) and (found[0].rgba_srgb[0, 0] == 0).all()
    assert warnings == ["views: all 24 pictures have one colour behind the subject; it counts as transparent"]
