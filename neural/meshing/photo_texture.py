"""A texture from the one photo that a mesh was made of.

The side that the photo shows is the photo. What it does not show comes from a photo from behind where there is one,
from the mirrored photo where the object is symmetric, and else from what is around it on the surface and, blurred,
from what the photo shows before it: the far side of a leg is as dark as the leg.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from ...formats.mesh import Mesh
from ..geometry.posed import PosedPicture
from .normals import smooth_normals
from .raster import project
from .texture import colored, seen_colors, texels_of
from .unwrap import unwrap

# A pixel's colour is the object's from this alpha on; beside those it is the nearest one's. So no background comes in
# where the mesh is a little larger than what the photo shows.
OPAQUE = 0.9
# A texel that counts as much for a picture (1 is faced squarely, far from all outlines) is that picture's alone.
SURE = 0.03
# How much the blurred photo counts on the far side, and its blur, of the crop's side, on a picture of so many pixels.
FAINT, BLUR, BLURRED = 3e-5, 0.04, 128


def paint(mesh: Mesh, rgba: np.ndarray, distance: float, *, mirror: tuple[np.ndarray, float] | None = None,
          back: np.ndarray | None = None, side: int = 1024) -> Mesh:
    """The mesh of a view frame with UVs and a texture (side, side, 3) from its crop (S, S, 4), premultiplied.

    mirror: the unit normal (3,) and the offset from the origin of a plane that the object is symmetric about.
    back: a crop (T, T, 4) from the opposite direction, which is stretched to the mesh's outline from there.
    Each picture adds to what those before it leave open, softly where they see the surface at a grazing angle.
    """
    mesh = unwrap(Mesh(mesh.vertices, mesh.faces), side)
    texels, shaded = texels_of(mesh, side), smooth_normals(mesh)
    pictures = [_front(rgba, distance)]
    if back is not None:
        pictures.append(_behind(mesh, back, distance))
    if mirror is not None:
        pictures += [_mirrored(picture, *mirror) for picture in pictures]
    color, left = np.zeros((len(texels.face), 3), np.float32), np.ones(len(texels.face), np.float32)
    for picture in pictures:
        found, trust = seen_colors(shaded, texels, [picture])
        share = left * np.clip(trust / SURE, 0, 1)
        color += share[:, None] * found
        left -= share
    points = np.einsum("nc,nck->nk", texels.weights, mesh.vertices[mesh.faces[texels.face]])
    trust = 1 - left + FAINT * left
    color += (FAINT * left)[:, None] * _blurred(pictures[0], rgba[..., 3], points)
    return colored(mesh, texels, color / trust[:, None], trust)


def _front(rgba: np.ndarray, distance: float) -> PosedPicture:
    side = len(rgba)
    pose = np.eye(4)
    pose[2, 3] = distance
    focal = distance * side / 2
    return PosedPicture("photo", _spread(rgba), focal, focal, side / 2, side / 2, pose, has_alpha=False)


def _behind(mesh: Mesh, rgba: np.ndarray, distance: float) -> PosedPicture:
    """The picture from the opposite side whose visible box is the mesh's own, seen from there."""
    front = _front(rgba, distance)
    turned = np.diag([-1.0, 1.0, -1.0, 1.0])  # half a turn about the vertical
    picture = replace(front, name="behind", world_from_camera=turned @ front.world_from_camera)
    seen = project(mesh.vertices, picture.fx, picture.fy, picture.cx, picture.cy, picture.world_from_camera)[:, :2]
    low, size = seen.min(axis=0), np.ptp(seen, axis=0)
    rows, columns = np.nonzero(rgba[..., 3] >= 0.5)
    first = np.array([columns.min(), rows.min()])
    stretch = (np.array([columns.max(), rows.max()]) + 1 - first) / np.maximum(size, 1e-6)
    middle = first + (np.array([picture.cx, picture.cy]) - low) * stretch
    return replace(picture, fx=picture.fx * stretch[0], fy=picture.fy * stretch[1], cx=middle[0], cy=middle[1])


def _mirrored(picture: PosedPicture, normal: np.ndarray, offset: float) -> PosedPicture:
    """The picture that a mirrored camera takes of the mirrored object: its pose is a reflection."""
    reflect = np.eye(4)
    reflect[:3, :3] -= 2 * np.outer(normal, normal)
    reflect[:3, 3] = 2 * offset * normal
    return replace(picture, name=f"{picture.name}, mirrored", world_from_camera=reflect @ picture.world_from_camera)


def _blurred(picture: PosedPicture, alpha: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The photo's colours (N, 3), without all detail, at the points (N, 3) of the surface, seen or not."""
    step = max(len(alpha) // BLURRED, 1)
    weight, spread = alpha[::step, ::step, None] + 1e-4, BLUR * len(alpha) / step
    soft, total = (gaussian_filter(values, (spread, spread, 0))
                   for values in (weight * picture.rgba_srgb[::step, ::step, :3], weight))
    x, y, _ = project(points, picture.fx, picture.fy, picture.cx, picture.cy, picture.world_from_camera).T / step
    return np.stack([map_coordinates(channel, (y, x), order=1, mode="nearest")
                     for channel in np.moveaxis(soft / total, 2, 0)], axis=1)


def _spread(rgba: np.ndarray) -> np.ndarray:
    """The colours (H, W, 4) of what is opaque all over the picture, straight, with alpha 1."""
    opaque = rgba[..., 3] >= OPAQUE
    if not opaque.any():
        opaque = rgba[..., 3] >= rgba[..., 3].max()
    straight = np.ones_like(rgba, dtype=np.float32)
    straight[..., :3] = rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-3)
    nearest = distance_transform_edt(~opaque, return_distances=False, return_indices=True)
    return straight[tuple(nearest)]
