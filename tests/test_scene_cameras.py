"""Blender's lens ↔ intrinsics in pixels, by hand-computed numbers; against Blender's own projection in the wheels."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.formats.capture import Camera
from maquette.scene import cameras


@pytest.mark.parametrize(("lens", "sensor", "fit", "shift", "size", "aspect", "fx", "fy", "centre"), [
    (50, (36, 24), "AUTO", (0, 0), (1920, 1080), 1.0, 2666.6667, 2666.6667, (960, 540)),
    (50, (36, 24), "AUTO", (0, 0), (1080, 1920), 1.0, 2666.6667, 2666.6667, (540, 960)),
    (50, (36, 24), "VERTICAL", (0, 0), (1920, 1080), 1.0, 2250.0, 2250.0, (960, 540)),
    (50, (36, 24), "AUTO", (0.1, 0.1), (1920, 1080), 1.0, 2666.6667, 2666.6667, (768, 732)),
    # Pixels twice as high as wide: the fitted side is 2 · 100 wide pixels, and fy counts high ones.
    (36, (36, 24), "AUTO", (0, 0.25), (100, 100), 2.0, 200.0, 100.0, (50, 75)),
])
def test_intrinsics_are_blenders(lens: float, sensor: tuple, fit: str, shift: tuple, size: tuple, aspect: float,
                                 fx: float, fy: float, centre: tuple) -> None:
    found = cameras.intrinsics(lens, *sensor, fit, *shift, *size, aspect)
    np.testing.assert_allclose((found.fx, found.fy, found.cx, found.cy), (fx, fy, *centre), rtol=1e-7)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (500, 500)])
@pytest.mark.parametrize("aspect", [1.0, 1.25, 0.8])
def test_every_pinhole_goes_to_blender_and_back(size: tuple[int, int], aspect: float) -> None:
    before = Camera(*size, fx=700.0 * aspect, fy=700.0, cx=210.0, cy=333.0)
    lens = cameras.lens_of(before)
    after = cameras.intrinsics(lens["lens"], lens["sensor_width"], 24.0, lens["sensor_fit"], lens["shift_x"],
                               lens["shift_y"], *size, aspect)
    np.testing.assert_allclose((after.fx, after.fy, after.cx, after.cy),
                               (before.fx, before.fy, before.cx, before.cy), rtol=1e-12)
