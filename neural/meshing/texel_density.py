"""How large a texture has to be to hold what the pictures show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...formats.mesh import Mesh
from ..geometry.posed import PosedPicture
from .raster import project
from .topology import face_areas

# What the charts of an unwrapped mesh fill of the square beside outlines and padding; more where it is large.
_FILLED = 0.4
SMALLEST, LARGEST = 256, 4096
# Faces that are looked at: the median does not need them all.
_FACES = 20_000


def fitting_side(mesh: Mesh, pictures: Sequence[PosedPicture]) -> int:
    """Side of the texture, a power of two, whose texels are no larger on the surface than the pictures' pixels there.

    A face has the density of the view that shows it with the most pixels, whether or not something stands before it;
    half of the area has a larger one than the texture. At most `LARGEST`.
    """
    areas = face_areas(mesh)
    chosen = np.random.default_rng(0).choice(len(areas), min(_FACES, len(areas)), replace=False)
    density = _pixels_per_area(mesh.triangles()[chosen].astype(np.float64), pictures)
    order = np.argsort(density)
    share = np.cumsum(areas[chosen][order])
    median = density[order][np.searchsorted(share, share[-1] / 2)]
    side = np.sqrt(areas.sum() * median / _FILLED)
    return int(2 ** np.ceil(np.log2(np.clip(side, SMALLEST, LARGEST))))


def _pixels_per_area(triangles: np.ndarray, pictures: Sequence[PosedPicture]) -> np.ndarray:
    """Pixels per square metre (F,) of each face in the view where it has the most; 0 where none shows it."""
    centre = triangles.mean(axis=1)
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    best = np.zeros(len(centre))
    for picture in pictures:
        height, width = picture.rgba_srgb.shape[:2]
        x, y, z = project(centre, picture.fx, picture.fy, picture.cx, picture.cy, picture.world_from_camera).T
        away = picture.world_from_camera[:3, 3] - centre
        facing = (normal * away).sum(axis=1) / np.maximum(np.linalg.norm(away, axis=1), 1e-300)
        shown = (z > 0) & (facing > 0) & (x > 0) & (x < width) & (y > 0) & (y < height)
        pixels = picture.fx * picture.fy * facing[shown] / z[shown] ** 2
        best[shown] = np.maximum(best[shown], pixels)
    return best
