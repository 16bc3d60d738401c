"""Where the surface begins: the visual hull, carved where the views see through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..fields.grid import GridField
from ..geometry.posed import PosedPicture
from ..rendering.lattice import Lattice
from ..rendering.rays import Camera

BEYOND = 3.0  # voxels
VIEWS = 4  # fewer do not carve a place
TRUNCATION = 4.0  # voxels
OPAQUE = 0.8  # alpha from which a pixel's depth counts
# Of the light that a density field stops, the share that counts as the begin of its surface: more of it is lost in
# fog behind the surface than in fog before it.
BEGINS = 0.3
HELD = 1.5  # voxels less that are carved where the views agree about the hull
SHRINK = 4  # the field's depth is rendered this much smaller than the pictures


@dataclass(frozen=True)
class DepthMap:
    """Depth (H, W) along a camera's axis, NaN where it is not known."""

    depth: np.ndarray
    fx: float
    fy: float
    cx: float
    cy: float
    world_from_camera: np.ndarray


def depths_of_density(field: GridField, pictures: Sequence[PosedPicture]) -> list[DepthMap]:
    """Where the pictures' cameras begin to see something of the field, in smaller pictures."""
    maps = []
    for p in pictures:
        height, width = (max(n // SHRINK, 1) for n in p.rgba_srgb.shape[:2])
        y, x = height / p.rgba_srgb.shape[0], width / p.rgba_srgb.shape[1]
        camera = Camera(p.fx * x, p.fy * y, p.cx * x, p.cy * y, p.world_from_camera)
        depth = field.depth_at(camera, width, height, BEGINS)
        maps.append(DepthMap(depth, camera.fx, camera.fy, camera.cx, camera.cy, camera.world_from_camera))
    return maps


def depths_of_pictures(pictures: Sequence[PosedPicture]) -> list[DepthMap]:
    """The depth that came with the pictures, where they are opaque."""
    return [DepthMap(np.where(p.rgba_srgb[..., 3] > OPAQUE, p.depth, np.nan), p.fx, p.fy, p.cx, p.cy,
                     p.world_from_camera) for p in pictures if p.depth is not None]


def hull_distances(pictures: Sequence[PosedPicture], lattice: Lattice, box: np.ndarray) -> np.ndarray:
    """Signed distances (X + 1, Y + 1, Z + 1) in voxels to the box cut by all silhouettes, to a fraction of a voxel.

    A view's is the distance to its silhouette's outline in the picture times the depth over the focal length; what
    lies outside a picture is not known from it. More than BEYOND voxels outside they are only so much at least.
    """
    points = lattice.corner_points().reshape(-1, 3).astype(np.float64)
    distances = np.maximum(box[0] - points, points - box[1]).max(1)
    near = np.arange(len(points))
    for p in pictures:
        if not p.has_alpha:
            continue
        silhouette = p.rgba_srgb[..., 3] > 0.5
        outline = ndimage.distance_transform_edt(~silhouette) - ndimage.distance_transform_edt(silhouette)
        outline -= 0.5 * np.sign(outline)  # from a pixel's centre to the edge between two pixels
        if p.weight is not None:
            outline[p.weight == 0] = -np.inf
        near = near[distances[near] < BEYOND * lattice.voxel]
        x, y, z = _project(points[near], p)
        height, width = silhouette.shape
        known = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (z > 0)
        pixels = ndimage.map_coordinates(outline, [y[known] - 0.5, x[known] - 0.5], order=1, mode="nearest")
        seen = near[known]
        distances[seen] = np.maximum(distances[seen], pixels * z[known] / min(p.fx, p.fy))
    return (distances / lattice.voxel).reshape(lattice.corners)


def carved(distances: np.ndarray, maps: Sequence[DepthMap], lattice: Lattice,
           agree: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
    """`distances` (in voxels), carved where the maps see further than a place.

    How much further is their mean over the views that do not see the place far behind a surface, each cut off
    (Curless and Levoy 1996): the noise of the single maps averages out. Where views `agree` about the hull it takes
    more to carve.
    """
    near = distances.ravel() < 1
    points = lattice.corner_points().reshape(-1, 3)[near].astype(np.float64)
    total, views = np.zeros(len(points)), np.zeros(len(points), int)
    for m in maps:
        x, y, z = _project(points, m)
        height, width = m.depth.shape
        known = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (z > 0)
        further = np.full(len(points), np.nan)
        further[known] = (m.depth[y[known].astype(int), x[known].astype(int)] - z[known]) / lattice.voxel
        counts = further > -TRUNCATION
        total[counts] += further[counts].clip(max=TRUNCATION)
        views += counts
    further = total / np.maximum(views, 1)
    if agree is not None:
        further -= HELD * agree(points)
    seen_through = np.full(len(near), -np.inf)
    seen_through[near] = np.where(views >= VIEWS, further, -np.inf)
    return np.maximum(distances, seen_through.reshape(distances.shape))


def _project(points: np.ndarray, camera: PosedPicture | DepthMap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row and depth of world points (N, 3)."""
    x, y, z = ((points - camera.world_from_camera[:3, 3]) @ camera.world_from_camera[:3, :3]).T
    depth = np.where(z == 0, np.nan, -z)
    return camera.fx * x / depth + camera.cx, camera.cy - camera.fy * y / depth, -z
