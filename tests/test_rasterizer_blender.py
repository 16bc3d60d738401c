"""The rasterizer beside Blender's own render of the same scene, from cameras of every sensor fit."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.formats import exr
from maquette.neural.meshing.raster import project
from maquette.neural.rendering.rasterizer import rasterize
from maquette.scene.cameras import intrinsics

HERE = Path(__file__).parent
LENSES = [dict(zip(("sensor_fit", "lens", "shift_x", "shift_y", "width", "height", "pixel_aspect"), values,
                   strict=True), sensor_width=36.0, sensor_height=20.0)
          for values in (("AUTO", 40.0, 0.0, 0.0, 192, 144, 1.0), ("AUTO", 50.0, 0.08, -0.12, 120, 200, 1.0),
                         ("HORIZONTAL", 30.0, -0.1, 0.05, 140, 180, 1.25), ("VERTICAL", 35.0, 0.05, 0.1, 200, 140, 1.0),
                         ("AUTO", 28.0, 0.1, 0.1, 160, 152, 1.5))]

pytestmark = pytest.mark.blender


@pytest.mark.parametrize("version", ["4.2.23", "4.5.15"])
def test_silhouette_and_depth_are_those_that_blender_renders(
        version: str, tmp_path: Path, bpy_python: Callable[[str], Path]) -> None:
    (tmp_path / "lenses.json").write_text(json.dumps(LENSES))
    subprocess.run([bpy_python(version), HERE / "blender" / "render_scene.py", tmp_path / "lenses.json", tmp_path],
                   check=True, capture_output=True, timeout=300)
    with np.load(tmp_path / "scene.npz", allow_pickle=False) as scene:
        triangles, poses = scene["triangles"], scene["poses"]
    diagonal = np.linalg.norm(np.ptp(triangles.reshape(-1, 3), axis=0))
    for i, lens in enumerate(LENSES):
        camera = intrinsics(**lens)
        corners = project(triangles.reshape(-1, 3), camera.fx, camera.fy, camera.cx, camera.cy, poses[i])
        seen = rasterize(torch.from_numpy(corners.reshape(1, -1, 3, 3)), camera.height, camera.width, gradient="none")
        depth = exr.depth(exr.read_channels(tmp_path / f"{i}.exr"))
        expected, found = np.isfinite(depth), seen.alpha[0].numpy() > 0
        overlap = (expected & found).sum() / (expected | found).sum()
        error = np.abs(depth - seen.depth[0].numpy())[expected & found]
        print(f"lens {i}: IoU {overlap:.5f}, depth {error.mean() / diagonal:.1e} of the diagonal, "
              f"{(error > 1e-3 * diagonal).mean():.1e} of the pixels above 1e-3")
        assert expected.sum() > 1000 and overlap >= 0.995
        assert error.mean() < 1e-3 * diagonal and (error < 1e-3 * diagonal).mean() > 0.995
