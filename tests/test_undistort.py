"""Lens distortion, its inverse, and pictures made those of a pinhole."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.formats.capture import Camera
from maquette.neural.geometry.undistort import distort, pinhole_of, resample, undistort, usable_radius


def camera(model="opencv", width=80, height=60, f=100.0, **distortion):
    return Camera(width, height, f, f, width / 2, height / 2, model, distortion)


def test_radial_and_tangential_terms_are_those_of_opencv():
    # u = 0.3, v = 0.4, r² = 0.25: radial 1 + 0.1·0.25 + 0.2·0.0625 + 0.4·0.015625 = 1.04375
    u, v = distort(np.array([[0.3, 0.4]]), camera(k1=0.1, k2=0.2, k3=0.4, p1=0.01, p2=0.02))[0]
    assert u == pytest.approx(0.3 * 1.04375 + 2 * 0.01 * 0.12 + 0.02 * (0.25 + 2 * 0.09))
    assert v == pytest.approx(0.4 * 1.04375 + 2 * 0.02 * 0.12 + 0.01 * (0.25 + 2 * 0.16))
    # denominator 1 + 0.1·0.25 + 0.2·0.0625 + 0.4·0.015625
    u, v = distort(np.array([[0.3, 0.4]]), camera(k4=0.1, k5=0.2, k6=0.4))[0]
    assert (u, v) == (pytest.approx(0.3 / 1.04375), pytest.approx(0.4 / 1.04375))


def test_the_fisheye_model_is_a_polynomial_of_the_angle():
    u, v = distort(np.array([[1.0, 0.0]]), camera("fisheye", k1=0.1, k4=0.01))[0]
    theta = math.pi / 4
    assert u == pytest.approx(theta * (1 + 0.1 * theta**2 + 0.01 * theta**8)) and v == 0
    assert distort(np.zeros((1, 2)), camera("fisheye", k1=0.1)).tolist() == [[0.0, 0.0]]


LENSES = [camera(k1=-0.164224), camera(k1=0.008, k2=0.0014, k3=0.0002, p1=0.001, p2=-0.0004), camera(k1=0.3, k2=0.1),
          camera(k1=-0.3, k2=0.1, p1=0.01, p2=-0.01), camera(k1=0.1, k2=0.05, k4=0.2, k5=0.01, k6=0.001),
          camera("fisheye"), camera("fisheye", k1=0.03, k2=-0.01, k3=0.002, k4=-0.0005)]


@pytest.mark.parametrize("lens", LENSES)
@settings(max_examples=30, deadline=None)
@given(points=st.lists(st.tuples(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7)), min_size=1, max_size=20))
def test_undistort_inverts_distort_to_1e_6(lens, points):
    points = np.array(points)
    assert np.abs(undistort(distort(points, lens), lens) - points).max() < 1e-6


def test_what_a_lens_cannot_map_is_unknown():
    lens = camera(k1=-0.5)  # r (1 − r²/2) grows up to r = √(2/3), where it is 0.544
    assert usable_radius(lens) == pytest.approx(math.sqrt(2 / 3), rel=2e-3)
    assert np.isfinite(undistort(np.array([[0.54, 0.0]]), lens)).all()
    assert np.isnan(undistort(np.array([[0.56, 0.0]]), lens)).all()
    assert usable_radius(camera(k1=0.5)) == math.inf


def smooth_picture(lens, at):
    """A smooth function of the ideal direction, seen at the pixels `at` of shape (H, W, 2) in ideal coordinates."""
    return np.sin(5 * at[..., :1] + 1) * np.cos(4 * at[..., 1:]) * 0.5 + 0.5


def pixel_grid(camera):
    x = (np.arange(camera.width) + 0.5 - camera.cx) / camera.fx
    y = (np.arange(camera.height) + 0.5 - camera.cy) / camera.fy
    return np.stack(np.meshgrid(x, y), axis=-1)


@pytest.mark.parametrize("lens", [camera(k1=-0.164224), camera(k1=0.2, p1=0.01), camera("fisheye", k1=0.02)])
def test_an_undistorted_picture_shows_what_a_pinhole_would_see(lens):
    ideal = undistort(pixel_grid(lens).reshape(-1, 2), lens).reshape(lens.height, lens.width, 2)
    taken = smooth_picture(lens, ideal).astype(np.float32)
    pinhole = pinhole_of(lens)
    got = resample(taken, pinhole)
    wanted = smooth_picture(lens, pixel_grid(pinhole.camera))
    # Within half a pixel of the border there is nothing to interpolate with.
    inner = (np.abs(pinhole.source.numpy()) < (1 - 1 / lens.width, 1 - 1 / lens.height)).all(axis=-1)
    assert 0.75 < inner.mean() <= 1 and (pinhole.weight[inner] == 1).all()
    # Bilinear interpolation errs by curvature · h² / 8, about 5e-4; half a pixel's shift would be 1e-2.
    assert np.abs(got - wanted)[inner].max() < 1e-3 and not got[pinhole.weight == 0].any()


@pytest.mark.parametrize("lens", [camera(k1=-0.164224), camera(k1=0.2, p1=0.01), camera("fisheye", k1=0.02)])
def test_no_pixel_of_the_distorted_picture_is_lost(lens):
    target = pinhole_of(lens).camera
    ideal = undistort(pixel_grid(lens).reshape(-1, 2), lens)
    columns, rows = (ideal * (target.fx, target.fy) + (target.cx, target.cy)).T
    assert columns.min() >= 0 and columns.max() <= target.width and rows.min() >= 0 and rows.max() <= target.height
    assert (target.fx, target.cx % 1, target.cy % 1) == (lens.fx, lens.cx % 1, lens.cy % 1)


def test_a_fisheye_of_half_the_world_grows_no_further_than_allowed():
    lens = camera("fisheye", f=40 / (math.pi / 2))
    target = pinhole_of(lens).camera
    assert (target.width, target.height) == (160, 120)


def test_the_folded_rim_of_a_strong_lens_does_not_appear_twice():
    lens = camera(f=60.0, k1=-0.5)
    pinhole = pinhole_of(lens)
    radius = np.linalg.norm(pixel_grid(pinhole.camera), axis=-1)
    assert not pinhole.weight[radius > usable_radius(lens)].any()
