"""Cutting an object out of a photo: transparency, masks, plain and other backgrounds, and where there is nothing to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.neural.geometry import cutout
from maquette.neural.geometry.cutout import parts
from maquette.recipes.errors import InputError

Y, X = np.mgrid[:300, :400] + 0.5
DISC = np.hypot(X - 200, Y - 150)
SOFT = np.clip(100.5 - DISC, 0, 1)  # of a disc of radius 100
RED = np.array([190.0, 40.0, 30.0])


def composed(alpha: np.ndarray, front: np.ndarray, behind: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """A photo (H, W, 3) uint8 of something before something."""
    picture = alpha[..., None] * front + (1 - alpha[..., None]) * behind
    picture = picture + noise * np.random.default_rng(0).standard_normal(picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def cut(picture: np.ndarray, mask: np.ndarray | None = None, likely: np.ndarray | None = None) -> np.ndarray:
    """Of uint8 with straight alpha, or none, the premultiplied float."""
    rgba = np.ones((*picture.shape[:2], 4), np.float32)
    rgba[..., :picture.shape[2]] = picture / np.float32(255)
    rgba[..., :3] *= rgba[..., 3:]
    return cutout.cut_out(rgba, mask, likely)


def cut_out(picture: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    return cut(picture, mask)[..., 3]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("behind", [np.full(3, 255.0), np.full(3, 127.0), np.array([30.0, 60.0, 110.0])])
def test_a_plain_background_goes_and_the_edge_is_soft(behind: np.ndarray) -> None:
    alpha = cut_out(composed(SOFT, RED, behind, noise=1.5))
    assert overlap(alpha >= 0.5, SOFT >= 0.5) > 0.985
    assert alpha[DISC < 90].min() == 1 and alpha[DISC > 110].max() == 0


def test_a_background_that_changes_smoothly_goes() -> None:
    ramp = np.stack((150 + X / 8, 150 + Y / 6, 190 - X / 10), axis=-1)
    alpha = cut_out(composed(SOFT, RED, ramp, noise=1.0))
    assert overlap(alpha >= 0.5, SOFT >= 0.5) > 0.985


def test_a_hole_that_shows_a_plain_background_goes_too() -> None:
    ring = SOFT * np.clip(DISC - 49.5, 0, 1)
    assert overlap(cut_out(composed(ring, RED, np.full(3, 127.0))) >= 0.5, ring >= 0.5) > 0.97


def test_an_object_before_a_busy_background_is_found() -> None:
    stripes = np.where((X // 12 + Y // 9)[..., None] % 2 == 0, [40.0, 110.0, 50.0], [90.0, 160.0, 60.0])
    alpha = cut_out(composed(SOFT, RED, stripes, noise=6.0))
    assert overlap(alpha >= 0.5, SOFT >= 0.5) > 0.97


@pytest.mark.parametrize("plain", [True, False])
def test_of_two_objects_the_likely_one_is_cut_out_at_its_own_edge(plain: bool) -> None:
    stripes = np.where((X // 12 + Y // 9)[..., None] % 2 == 0, [40.0, 110.0, 50.0], [90.0, 160.0, 60.0])
    left, right = (np.clip(60.5 - np.hypot(X - x, Y - 150), 0, 1) for x in (110, 240))
    front = np.where(X[..., None] < 175, RED, [30.0, 40.0, 170.0])
    picture = composed(left + right, front, np.full(3, 200.0) if plain else stripes, noise=3.0)
    # A square for a mask, too large at its corners and too small at its sides, and another for the neighbour.
    box = np.maximum(np.abs(X - 240), np.abs(Y - 150)) < 54
    other = np.maximum(np.abs(X - 110), np.abs(Y - 150)) < 64
    likely = np.where(box, 0.9, np.where(other, 0.0, 0.01)).astype(np.float32)
    assert overlap(cut(picture, likely=likely)[..., 3] >= 0.5, right >= 0.5) > 0.96


def test_a_likely_object_that_colours_do_not_show_stays_as_it_is() -> None:
    noise = composed(np.zeros_like(X), RED, np.full(3, 127.0), noise=60.0)
    likely = np.where(DISC < 100, np.float32(0.9), np.float32(0.01))
    assert overlap(cut(noise, likely=likely)[..., 3] >= 0.5, DISC < 100) > 0.6


def test_a_large_photo_is_cut_at_its_own_pixels() -> None:
    soft = np.clip((100.5 - DISC).repeat(4, 0).repeat(4, 1) * 4, 0, 1)
    alpha = cut_out(composed(soft, RED, np.full(3, 200.0), noise=1.0))
    assert alpha.shape == soft.shape and overlap(alpha >= 0.5, soft >= 0.5) > 0.99


def test_transparency_and_masks_count_before_colours() -> None:
    picture = composed(SOFT, RED, np.full(3, 255.0))
    aside = np.roll(SOFT, 30, axis=1)
    own = np.dstack((picture, np.rint(aside * 255).astype(np.uint8)))
    assert np.abs(cut_out(own) - aside).max() < 0.01
    assert np.abs(cut_out(picture, aside) - aside).max() < 1e-6
    assert np.abs(cut_out(own, SOFT) - SOFT * aside).max() < 0.01


def test_an_opaque_alpha_channel_is_no_transparency() -> None:
    picture = composed(SOFT, RED, np.full(3, 255.0))
    opaque = np.dstack((picture, np.full(X.shape, 255, np.uint8)))
    assert np.array_equal(cut_out(opaque), cut_out(picture))


def test_a_grey_photo_is_cut_as_well() -> None:
    alpha = cut_out(composed(SOFT, np.full(3, 60.0), np.full(3, 180.0), noise=2.0))
    assert overlap(alpha >= 0.5, SOFT >= 0.5) > 0.985


@pytest.mark.parametrize(("picture", "mask", "words"), [
    (np.zeros((1, 1, 3), np.uint8), None, "1×1 pixels"),
    (np.zeros((300, 400, 4), np.uint8), None, "transparent"),
    (np.full((300, 400, 3), 90, np.uint8), None, "nothing in it differs"),
    (composed(SOFT, RED, np.full(3, 255.0)), np.zeros((300, 400)), "no pixel of it is white"),
    (composed(SOFT, RED, np.full(3, 255.0)), np.ones((300, 400)), "all of it is white"),
])
def test_what_cannot_be_cut_is_refused_in_one_line(picture: np.ndarray, mask: np.ndarray | None, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        cut_out(picture, mask)
    assert "\n" not in str(caught.value)


def test_the_background_s_colour_leaves_the_soft_edge() -> None:
    soft = np.clip((104 - DISC) / 8, 0, 1)
    picture = composed(soft, RED, np.array([20.0, 220.0, 40.0]))
    found = cut(picture, soft)
    edge, inside = (soft > 0.1) & (soft < 0.9), soft == 1
    colors = found[..., :3] / np.maximum(found[..., 3:], 1e-6) * 255
    assert np.abs(colors[edge] - RED).mean() < 0.35 * np.abs(picture[edge] - RED).mean()
    assert np.allclose(colors[inside], picture[inside], atol=0.01)


def test_two_objects_are_two_parts_and_a_crumb_belongs_to_the_nearer() -> None:
    large, small = np.hypot(X - 120, Y - 150) < 80, np.hypot(X - 320, Y - 150) < 40
    crumb = np.hypot(X - 320, Y - 90) < 5
    masks = parts((large | small | crumb).astype(np.float32))
    assert len(masks) == 2 and np.array_equal(sum(masks), np.ones(X.shape))
    assert masks[0][large].all() and masks[1][small].all() and masks[1][crumb].all()
    assert len(parts((large | crumb).astype(np.float32))) == 1


def test_photos_of_objects_are_cut(shared: Path) -> None:
    shares = {"teapot": 0.24, "fox_lowpoly": 0.28, "marble_cherub": 0.37, "chair_rocking": 0.18, "car_silver": 0.29}
    for name, share in shares.items():
        picture = np.asarray(Image.open(shared / f"data/photos/{name}.jpg").convert("RGB"))
        assert (cut_out(picture) >= 0.5).mean() == pytest.approx(share, abs=0.03), name
