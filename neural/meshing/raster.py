"""Pictures of a mesh: its base colour without light, from any camera."""

from __future__ import annotations

import numpy as np

from ...formats.mesh import Mesh
from ..fields.common import Rendered
from ..kernels.raster import Fragments, blank, rasterise
from .topology import chunks

_GREY = 0.8


def render(mesh: Mesh, fx: float, fy: float, cx: float, cy: float, width: int, height: int,
           world_from_camera: np.ndarray, *, supersampling: int = 2) -> Rendered:
    """Draw a mesh with its texture, else its vertex colours, else grey; each pixel is the mean of its samples."""
    s = supersampling
    points = project(mesh.vertices, s * fx, s * fy, s * cx, s * cy, world_from_camera)
    seen = blank(s * height, s * width)
    for rows in chunks(len(mesh.faces)):
        seen = rasterise(points[mesh.faces[rows]], s * height, s * width, seen, rows.start)
    del points
    hit = seen.face >= 0
    rgb = np.zeros((*hit.shape, 3), np.float32)
    normal = np.zeros_like(rgb)
    rgb[hit] = _colors(mesh, seen, hit)
    normal[hit] = _normals(mesh, seen, hit)
    alpha = _pooled(hit.astype(np.float32), s)
    depth = _pooled(np.where(hit, seen.depth, 0), s) / np.where(alpha > 0, alpha, np.nan)
    normal = _pooled(normal, s)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return Rendered(_pooled(rgb, s), alpha, depth, normal / np.maximum(length, 1e-12))


def project(points: np.ndarray, fx: float, fy: float, cx: float, cy: float,
            world_from_camera: np.ndarray) -> np.ndarray:
    """World points (N, 3) to x and y in pixels and depth, (N, 3) float64; what lies behind has depth ≤ 0."""
    projected = np.empty((len(points), 3))
    camera_from_world = np.linalg.inv(world_from_camera[:3, :3]).T
    for rows in chunks(len(points)):
        camera = (points[rows] - world_from_camera[:3, 3]) @ camera_from_world
        depth = -camera[:, 2]
        safe = np.where(depth > 0, depth, 1)
        projected[rows] = np.stack((cx + fx * camera[:, 0] / safe, cy - fy * camera[:, 1] / safe, depth), axis=1)
    return projected


def sample_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear colours (N, 3) float32, 0 to 1, of a texture (H, W, 3) uint8 at uv (N, 2); repeated outside."""
    height, width = texture.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    x, y = (x - x0)[:, None], (y - y0)[:, None]
    x1, y1 = (x0 + 1) % width, (y0 + 1) % height
    x0, y0 = x0 % width, y0 % height
    upper = texture[y0, x0] * (1 - x) + texture[y0, x1] * x
    lower = texture[y1, x0] * (1 - x) + texture[y1, x1] * x
    return ((upper * (1 - y) + lower * y) / 255).astype(np.float32)


def _colors(mesh: Mesh, seen: Fragments, hit: np.ndarray) -> np.ndarray | float:
    face, weights = seen.face[hit], seen.weights[hit]
    if mesh.texture is not None and mesh.corner_uvs is not None:
        return sample_texture(mesh.texture, np.einsum("nc,nck->nk", weights, mesh.corner_uvs[face]))
    if mesh.colors is not None:
        return np.einsum("nc,nck->nk", weights, mesh.colors[mesh.faces[face]])
    return _GREY


def _normals(mesh: Mesh, seen: Fragments, hit: np.ndarray) -> np.ndarray:
    face = seen.face[hit]
    if mesh.normals is not None:
        return np.einsum("nc,nck->nk", seen.weights[hit], mesh.normals[mesh.faces[face]])
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces[face]], 1, 0)
    normal = np.cross(b - a, c - a)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)


def _pooled(values: np.ndarray, s: int) -> np.ndarray:
    height, width = values.shape[0] // s, values.shape[1] // s
    return values.reshape(height, s, width, s, *values.shape[2:]).mean(axis=(1, 3))


def portrait(mesh: Mesh, side: int = 512) -> np.ndarray:
    """The whole mesh from the front right above, lit from the camera, (side, side, 3) uint8 over white."""
    toward = np.array([0.55, -0.72, 0.42])
    toward /= np.linalg.norm(toward)
    right = np.cross([0.0, 0.0, 1.0], toward)
    right /= np.linalg.norm(right)
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = np.stack((right, np.cross(toward, right), toward), axis=1)
    centre = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    world_from_camera[:3, 3] = centre + 2.2 * mesh.diagonal() * toward
    picture = render(mesh, 2 * side, 2 * side, side / 2, side / 2, side, side, world_from_camera)
    shade = 0.35 + 0.65 * np.clip(picture.normal @ toward, 0, 1)[..., None]
    rgb = picture.rgb_srgb * shade + (1 - picture.alpha)[..., None]
    return (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
