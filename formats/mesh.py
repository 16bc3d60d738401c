"""A mesh of triangles, some of them paired to quads, as every room passes it on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """Triangles in Blender's world: right-handed, Z up, metres, counter-clockwise seen from outside.

    The first 2 · `quads` of them come in pairs (a, b, c), (a, c, d), which are the quads (a, b, c, d).
    """

    vertices: np.ndarray  # (V, 3) float32
    faces: np.ndarray  # (F, 3) int32
    normals: np.ndarray | None = None  # (V, 3) float32, unit length: smooth shading where present
    corner_uvs: np.ndarray | None = None  # (F, 3, 2) float32, origin at the texture's lower left corner
    texture: np.ndarray | None = None  # (H, W, 3) uint8 sRGB base colour, row 0 is the top (v = 1)
    # (H, W, 3) uint8 of the texture's layout: tangent space by MikkTSpace, +Y up (OpenGL), 127.5 · (1 + n)
    normal_map: np.ndarray | None = None
    colors: np.ndarray | None = None  # (V, 3) float32 sRGB 0 to 1
    quads: int = 0  # how many; with corner_uvs both halves of a quad have the same ones where they meet

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
        object.__setattr__(self, "quads", int(self.quads))
        first, second = self.faces[0:2 * self.quads:2], self.faces[1:2 * self.quads:2]
        if len(second) != self.quads or (first[:, [0, 2]] != second[:, :2]).any():
            raise ValueError(f"quads is {self.quads}; as many pairs (a, b, c), (a, c, d) are expected in front")

    def triangles(self) -> np.ndarray:
        """Corner positions, (F, 3, 3)."""
        return self.vertices[self.faces]

    def polygons(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners, as places in the flattened faces, of the quads (Q, 4) and of the triangles behind them (T, 3)."""
        quads = 6 * np.arange(self.quads)[:, None] + [0, 1, 2, 5]
        return quads, np.arange(6 * self.quads, 3 * len(self.faces)).reshape(-1, 3)

    def chosen_faces(self, keep: np.ndarray, whole: np.ndarray | None = None) -> Mesh:
        """The chosen faces (F,) bool with all vertices.

        A quad that loses a half, or is not `whole` (Q,) bool, becomes triangles behind the quads that stay.
        """
        pair = keep[:2 * self.quads].reshape(-1, 2).all(axis=1)
        if whole is not None:
            pair &= whole
        paired = np.append(np.repeat(pair, 2), np.zeros(len(keep) - 2 * self.quads, bool))
        order = np.concatenate((np.flatnonzero(paired), np.flatnonzero(keep & ~paired)))
        return replace(self, faces=self.faces[order], quads=int(pair.sum()),
                       corner_uvs=None if self.corner_uvs is None else self.corner_uvs[order])

    def inside_out(self) -> Mesh:
        """The faces turned round; vertices and normals as they are."""
        order = np.tile([2, 1, 0], (len(self.faces), 1))
        order[1:2 * self.quads:2] = [1, 0, 2]  # (a, c, d) begins where its other half (c, b, a) does
        turned = np.arange(len(self.faces))[:, None], order
        return replace(self, faces=self.faces[turned],
                       corner_uvs=None if self.corner_uvs is None else self.corner_uvs[turned])

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
        moved = replace(self, vertices=self.vertices @ linear.T + shift, normals=normals)
        return moved.inside_out() if np.linalg.det(linear) < 0 else moved


def write_npz(mesh: Mesh, path: Path) -> None:
    """The job folder's own form: the arrays under the dataclass's names, absent ones left out."""
    arrays = {name: value for name, value in vars(mesh).items() if value is not None}
    np.savez(path, **arrays)


def read_npz(path: Path) -> Mesh:
    with np.load(path, allow_pickle=False) as arrays:
        return Mesh(**{name: arrays[name] for name in Mesh.__dataclass_fields__ if name in arrays})
