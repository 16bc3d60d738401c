"""Seconds of each step from a field's grid to a textured mesh: 256³ values, 50,000 faces, 2048², 50 views of 256²."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from maquette.formats.mesh import Mesh
from maquette.neural.evaluation.audit import audit
from maquette.neural.evaluation.metrics import compare
from maquette.neural.geometry.posed import PosedPicture
from maquette.neural.meshing.decimate import decimate
from maquette.neural.meshing.marching_cubes import marching_cubes
from maquette.neural.meshing.normals import smooth_normals
from maquette.neural.meshing.raster import render
from maquette.neural.meshing.texture import bake
from maquette.neural.meshing.unwrap import unwrap

SIDE = 256


def main() -> None:
    axis = np.linspace(-1, 1, 256, dtype=np.float32)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    values = np.sqrt(x * x + y * y + z * z) - 0.6 - 0.08 * np.sin(12 * x) * np.sin(11 * y) * np.sin(13 * z)
    world_from_grid = np.diag([2 / 255] * 3 + [1])
    world_from_grid[:3, 3] = -1

    full = timed("marching cubes, 256³", marching_cubes, values, world_from_grid)
    mesh = timed(f"decimate {len(full.faces):,} faces", decimate, full, 50_000)
    unwrapped = timed("unwrap", unwrap, smooth_normals(mesh), 2048)
    pictures = timed("render 50 views", lambda: [view(mesh, i) for i in range(50)])
    bake(unwrapped, pictures[:1], 64)  # numba compiles once
    timed("bake 2048²", bake, unwrapped, pictures, 2048)
    timed("audit", audit, mesh)
    timed("compare, 100,000 samples", compare, mesh, full)


def timed(name: str, function: Callable, *arguments: Any) -> Any:
    start = time.perf_counter()
    result = function(*arguments)
    print(f"{name:<28} {time.perf_counter() - start:6.2f} s", flush=True)
    return result


def view(mesh: Mesh, number: int) -> PosedPicture:
    """A picture from one of 50 places around."""
    height, turn = 1 - 2 * (number + 0.5) / 50, 2.4 * number
    toward = np.array([np.sqrt(1 - height**2) * np.cos(turn), np.sqrt(1 - height**2) * np.sin(turn), height])
    right = np.cross([0.0, 0.0, 1.0], toward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack((right, np.cross(toward, right), toward), axis=1), 2.6 * toward
    camera = 1.5 * SIDE, 1.5 * SIDE, SIDE / 2, SIDE / 2
    drawn = render(mesh, *camera, SIDE, SIDE, pose)
    return PosedPicture(str(number), np.dstack((drawn.rgb_srgb, drawn.alpha)), *camera, pose)


if __name__ == "__main__":
    main()
