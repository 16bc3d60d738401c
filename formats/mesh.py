"""A triangle mesh as every room passes it on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """Triangles in Blender's world: right-handed, Z up, metres, counter-clockwise seen from outside."""

    vertices: np.ndarray  # (V, 3) float32
    faces: np.ndarray  # (F, 3) int32
    normals: np.ndarray | None = None  # (V, 3) float32, unit length: smooth shading where present
    corner_uvs: np.ndarray | None = None  # (F, 3, 2) float32, origin at the texture's lower left corner
    texture: np.ndarray | None = None  # (H, W, 3) uint8 sRGB base colour, row 0 is the top (v = 1)
    colors: np.ndarray | None = None  # (V, 3) float32 sRGB 0 to 1

    def __post_init__(self) -> None:
        for name, dtype, tail in (("vertices", np.float32, (3,)), ("faces", np.int32, (3,)),
                                  ("normals", np.float32, (3,)), ("corner_uvs", np.float32, (3, 2)),
                                  ("colors", np.float32, (3,))):
            value = getattr(self, name)
            if value is None:
                continue
            value = np.ascontiguousarray(value, dtype)
            if value.shape[1:] != tail:
                raise ValueError(f"{name} has shape {value.shape}; (N, {', '.join(map(str, tail))}) is expected")
            object.__setattr__(self, name, value)

    def triangles(self) -> np.ndarray:
        """Corner positions, (F, 3, 3)."""
        return self.vertices[self.faces]

    def diagonal(self) -> float:
        """Length of the bounding box's diagonal; 0 where there are no vertices."""
        return float(np.linalg.norm(np.ptp(self.vertices, axis=0))) if len(self.vertices) else 0.0

    def transformed(self, to_from_here: np.ndarray) -> Mesh:
        """The mesh under a 4×4 affine transform; a mirroring one turns the faces so that outside stays outside."""
        linear, shift = to_from_here[:3, :3], to_from_here[:3, 3]
        normals = self.normals
        if normals is not None:
            normals = normals @ np.linalg.inv(linear)
            normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
        faces, corner_uvs = self.faces, self.corner_uvs
        if np.linalg.det(linear) < 0:
            faces = faces[:, ::-1]
            corner_uvs = None if corner_uvs is None else corner_uvs[:, ::-1]
        return replace(self, vertices=self.vertices @ linear.T + shift, faces=faces, normals=normals,
                       corner_uvs=corner_uvs)


def write_npz(mesh: Mesh, path: Path) -> None:
    """The job folder's own form: the arrays under the dataclass's names, absent ones left out."""
    arrays = {name: value for name, value in vars(mesh).items() if value is not None}
    np.savez(path, **arrays)


def read_npz(path: Path) -> Mesh:
    with np.load(path, allow_pickle=False) as arrays:
        return Mesh(**{name: arrays[name] for name in Mesh.__dataclass_fields__ if name in arrays})
