"""In the place of `neural/tasks/capture.py` where Blender's side is tested: a cube and its field, after some steps."""

from __future__ import annotations

import time

import numpy as np
import torch

from ...formats import capture as captures
from ...formats import fields, unposed
from ...formats.mesh import Mesh, write_npz
from ..context import Context
from ..fields import stored
from ..fields.surface import SurfaceField
from ..rendering.lattice import Lattice

STEPS, STEP_SECONDS = 60, 0.1


def run(context: Context) -> None:
    capture = around(context) if (context.input / unposed.FILE).exists() else captures.read(
        context.input / captures.FILE)
    assert all((context.input / view.picture).is_file() for view in capture.views)
    context.stage("Training", 0.9)
    for step in range(STEPS):
        time.sleep(STEP_SECONDS)
        picture = np.zeros((96, 160, 3), np.uint8)
        picture[:, : 160 * (step + 1) // STEPS] = (230, 140, 40)
        context.progress((step + 1) / STEPS, f"step {step + 1} of {STEPS}")
        context.preview(picture)
    context.stage("Writing", 1.0)
    write_npz(cube(), context.output / "mesh.npz")
    stored.save(field(), context.output / fields.FILE)
    context.report["views"] = {"train": len(capture.views), "test": 0}


def around(context: Context) -> captures.Capture:
    """Cameras for photos that have none: on a line, each a metre further."""
    listed = unposed.read(context.input / unposed.FILE)
    views = []
    for number, photo in enumerate(listed.photos):
        pose = np.eye(4)
        pose[0, 3] = number
        camera = captures.Camera(photo.width, photo.height, 50.0, 50.0, photo.width / 2, photo.height / 2)
        views.append(captures.View(photo.name, camera, pose, photo.picture))
    capture = captures.Capture(listed.folder, tuple(views), points=np.zeros((5, 3)))
    captures.write(listed.at_their_sources(capture), context.output / captures.FILE)
    return capture


def field() -> SurfaceField:
    """Of the cube, in orange."""
    lattice = Lattice.over(np.array([[-1.25] * 3, [1.25] * 3]), 50)
    away = np.abs(lattice.corner_points()) - 1
    distances = np.linalg.norm(np.maximum(away, 0), axis=-1) + np.minimum(away.max(axis=-1), 0)
    made = SurfaceField(lattice, torch.from_numpy(distances / lattice.voxel).float(), 3.5, 0.1)
    made.rows.color.zero_()
    made.rows.color[:, :3] = torch.tensor([0.9, 0.5, 0.1])
    return made


def cube() -> Mesh:
    """A cube of 2 m with a chequered texture."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], np.int32)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    uvs = np.stack([square[t] for _ in quads for t in ([0, 1, 2], [0, 2, 3])])
    light = (np.indices((64, 64)).sum(axis=0) // 8 % 2).astype(bool)
    texture = np.where(light[..., None], [240, 200, 90], [40, 90, 120]).astype(np.uint8)
    normals = corners / np.linalg.norm(corners, axis=1, keepdims=True)
    return Mesh(corners, faces, normals=normals, corner_uvs=uvs, texture=texture)
