"""A base-colour texture from posed pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu

from ...formats.mesh import Mesh
from ..geometry.posed import PosedPicture
from ..kernels.blend import Views, blend
from ..kernels.raster import rasterise
from .normals import smooth_normals
from .raster import project

# Pixels next to a silhouette mix what lies on its two sides, and the mesh's silhouette is not the picture's to the
# pixel: trust grows from 0 at an edge to 1 this many pixels away.
_EDGE = 3.0
# A jump of depth between neighbouring pixels is an edge when it exceeds what a surface tilted so (dz per dx) makes.
_STEEPEST = 8.0
# What a texel that nobody sees well takes from the surface around it, against the weight of a clear view, 1.
_FILL = 1e-4
# A vertex that counts less than this share of what the best one does is not seen.
_SURE = 1e-3
# Texels blended together, which bounds the memory.
_AT_ONCE = 2_000_000


class Texels(NamedTuple):
    """Which point of the surface each texel of an unwrapped mesh shows."""

    covered: np.ndarray  # (side, side) bool, those that show any, N
    face: np.ndarray  # (N,) int
    weights: np.ndarray  # (N, 3) of the face's corners
    uv: np.ndarray  # (F, 3, 3) the corners' places in the texture, in texels, as the rasterizer takes them


def bake(mesh: Mesh, pictures: list[PosedPicture], side: int) -> Mesh:
    """Texture an unwrapped mesh from the pictures that see it: `texture` becomes (side, side, 3) uint8 sRGB.

    Each texel is a robust mean over the views in which it passes the depth test, weighted by viewing angle,
    resolution and distance to the next silhouette. What no view sees is filled along the surface from what is seen.
    Colours spread beyond the charts, so that filtering finds no seam.
    """
    texels = texels_of(mesh, side)
    return colored(mesh, texels, *seen_colors(smooth_normals(mesh), texels, pictures))


def texels_of(mesh: Mesh, side: int) -> Texels:
    """The texels of a square texture for an unwrapped mesh."""
    if mesh.corner_uvs is None:
        raise ValueError("the mesh has no corner_uvs; unwrap it first")
    uv = np.empty((*mesh.faces.shape, 3))
    uv[..., 0], uv[..., 1], uv[..., 2] = mesh.corner_uvs[..., 0] * side, (1 - mesh.corner_uvs[..., 1]) * side, 1
    drawn = rasterise(uv, side, side)
    covered = drawn.face >= 0
    return Texels(covered, drawn.face[covered], drawn.weights[covered], uv)


def seen_colors(mesh: Mesh, texels: Texels, pictures: list[PosedPicture]) -> tuple[np.ndarray, np.ndarray]:
    """Colours (N, 3) that pictures give the texels of a mesh with normals, and how much they count (N,); see `bake`."""
    return _blended(mesh, mesh.faces[texels.face], texels.weights, _views(mesh, pictures))


def colored(mesh: Mesh, texels: Texels, color: np.ndarray, trust: np.ndarray) -> Mesh:
    """The mesh with a texture of the texels' colours (N, 3), filled where they count (N,) for nothing; see `bake`."""
    corners = mesh.faces[texels.face]
    of_vertex = _vertex_colors(mesh, corners, texels.weights, color, trust)
    around = np.einsum("nc,nck->nk", texels.weights, of_vertex[corners])
    share = (trust / (trust + _FILL))[:, None]
    covered = texels.covered.copy()
    texture = np.zeros((*covered.shape, 3), np.float32)
    texture[covered] = share * color + (1 - share) * around
    _draw_small_faces(mesh, of_vertex, texels.face, texels.uv, texture, covered)
    spread(texture, covered)
    return replace(mesh, texture=(np.clip(texture, 0, 1) * 255 + 0.5).astype(np.uint8))


def spread(texture: np.ndarray, covered: np.ndarray) -> None:
    """Give the texels (H, W, C) that are not covered (H, W) the nearest covered one's values, in place."""
    if covered.any():
        row, column = distance_transform_edt(~covered, return_distances=False, return_indices=True)
        texture[~covered] = texture[row[~covered], column[~covered]]


def _blended(mesh: Mesh, corners: np.ndarray, weights: np.ndarray, views: Views) -> tuple[np.ndarray, np.ndarray]:
    """Colours (N, 3) and weights (N,) of the texels at `weights` (N, 3) between the vertices `corners` (N, 3)."""
    color, trust = np.empty((len(corners), 3), np.float32), np.empty(len(corners), np.float32)
    for start in range(0, len(corners), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        point, normal = (np.einsum("nc,nck->nk", weights[part], values[corners[part]])
                         for values in (mesh.vertices, mesh.normals))
        color[part], trust[part] = blend(point, normal, views)
    return color, trust


def _draw_small_faces(mesh: Mesh, of_vertex: np.ndarray, seen: np.ndarray, uv: np.ndarray, texture: np.ndarray,
                      covered: np.ndarray) -> None:
    """Give the faces that no texel's centre lies in the texels at their corners, where those are free."""
    small = np.ones(len(mesh.faces), bool)
    small[seen] = False
    column, row = np.clip(uv[small, :, :2], 0, len(texture) - 1).astype(int).reshape(-1, 2).T
    free = ~covered[row, column]
    texture[row[free], column[free]] = of_vertex[mesh.faces[small].reshape(-1)[free]]
    covered[row[free], column[free]] = True


def _views(mesh: Mesh, pictures: list[PosedPicture]) -> Views:
    """All pictures in one array of pixels with the mesh's depth and the trust in each pixel."""
    cameras, sizes, rgba, depth, trust = [], [], [], [], []
    for picture in pictures:
        height, width = picture.rgba_srgb.shape[:2]
        intrinsics = picture.fx, picture.fy, picture.cx, picture.cy
        corners = project(mesh.vertices, *intrinsics, picture.world_from_camera)[mesh.faces]
        drawn = rasterise(corners, height, width).depth
        rgba.append((np.clip(picture.rgba_srgb, 0, 1) * 255 + 0.5).astype(np.uint8).reshape(-1, 4))
        depth.append(drawn.reshape(-1))
        trust.append((_trust(picture, drawn) * 255).astype(np.uint8).reshape(-1))
        cameras.append(np.concatenate((intrinsics, picture.world_from_camera[:3, 3],
                                       np.linalg.inv(picture.world_from_camera[:3, :3]).reshape(-1))))
        sizes.append((height, width))
    start = np.cumsum([0, *(h * w for h, w in sizes)])[:-1]
    focal = np.median([c[0] for c in cameras])
    distance = np.median([np.linalg.norm(c[4:7] - mesh.vertices.mean(axis=0)) for c in cameras])
    return Views(np.array(cameras), np.column_stack((start, sizes)).astype(np.int64), np.concatenate(rgba),
                 np.concatenate(depth), np.concatenate(trust), float(focal / max(distance, 1e-12)))


def _trust(picture: PosedPicture, drawn: np.ndarray) -> np.ndarray:
    """From 0 at silhouettes and in unknown pixels to 1 well inside, (H, W)."""
    pixel = drawn / picture.fx
    finite = np.where(np.isfinite(drawn), drawn, 1e30)
    jump = maximum_filter(finite, 3) - minimum_filter(finite, 3)
    inside = np.isfinite(drawn) & (jump < 2 * _STEEPEST * pixel)
    if picture.has_alpha:
        inside &= minimum_filter(picture.rgba_srgb[..., 3], 3) > 0.98
    if picture.weight is not None:
        inside &= picture.weight > 0
    return np.clip(distance_transform_edt(inside) / _EDGE, 0, 1)


def _vertex_colors(mesh: Mesh, corners: np.ndarray, weights: np.ndarray, color: np.ndarray,
                   trust: np.ndarray) -> np.ndarray:
    """Colours of all vertices (V, 3): those of their texels where they are seen, elsewhere harmonic between them."""
    count = len(mesh.vertices)
    share = (weights * np.minimum(trust, 1)[:, None]).reshape(-1)
    total = np.bincount(corners.reshape(-1), share, count)
    colors = np.stack([np.bincount(corners.reshape(-1), share * np.repeat(color[:, c], 3), count)
                       for c in range(3)], axis=1)
    mean = colors.sum(axis=0) / max(total.sum(), 1e-12) if total.sum() > 0 else np.full(3, 0.5)
    # Minimises Σ total (c − colour)² + small Σ (difference along edges)²; what hangs on nothing seen gets the mean.
    ends = np.concatenate((mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]))
    links = coo_matrix((np.ones(len(ends)), ends.T), shape=(count, count)).tocsr()
    links = links + links.T
    laplacian = diags(np.asarray(links.sum(axis=1)).reshape(-1)) - links
    sure = total > _SURE * total.max(initial=0)
    hold = total / max(float(np.median(total[sure])), 1e-12) if sure.any() else total
    system = (diags(hold + 1e-7) + 1e-3 * laplacian).tocsc()
    target = colors * (hold / np.maximum(total, 1e-30))[:, None] + 1e-7 * mean
    factors = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return factors.solve(target)
