"""Moving cameras until what a field shows lies on their photos (Lucas and Kanade 1981, in six degrees of freedom)."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial.transform import Rotation

from ..fields.common import Rendered
from .posed import PosedPicture

ITERATIONS = 8
DAMPING = 1e-3  # of the normal equations' diagonal
FURTHEST = 0.06  # of the longest side, that a camera's picture may shift at once
FEWEST = 60  # pixels that show a surface, from which a camera is moved
SURFACE = 0.9  # alpha from which a pixel's depth counts: in fog it says nothing
RIM = 4.0  # pixels around what is seen that count as at the same depth
HUBER = 1.5  # median residuals, beyond which a pixel counts less


def aligned(view: PosedPicture, seen: Rendered, stride: int) -> PosedPicture:
    """The view with its camera moved so that its photo shows what `seen` does, every `stride`-th pixel from the first.

    Gauss-Newton steps on colour, and alpha where it is known, with Huber's weights; depth comes from `seen`. The photo
    is reduced to half the stride and blurred by a pixel, so that a shift of a few strides is within reach. A view in
    which too little is seen, or that would move too far, is left where it is.
    """
    if not np.isfinite(seen.depth).any():
        return view
    points, shown = _points(view, seen, stride)
    if len(points) < FEWEST:
        return view
    photo, scale = _reduced(view, max(stride // 2, 1))
    slopes = np.gradient(photo, axis=(1, 0))
    channels = 4 if view.has_alpha else 3
    fx, fy, cx, cy = view.fx * scale[0], view.fy * scale[1], view.cx * scale[0], view.cy * scale[1]
    motion, start = np.eye(4), _project(points, fx, fy, cx, cy)
    best, least = motion, np.inf
    for _ in range(ITERATIONS):
        moved = points @ motion[:3, :3].T + motion[:3, 3]
        place = _project(moved, fx, fy, cx, cy)
        inside = ((place > 0.5) & (place < np.array(photo.shape[1::-1]) - 0.5)).all(1) & (moved[:, 2] < 0)
        if inside.sum() < FEWEST:
            return view
        at, moved = place[inside], moved[inside]
        residual = (_sampled(photo, at) - shown[inside])[:, :channels]
        across, down = (_sampled(slope, at)[:, :channels, None] for slope in slopes)
        du, dv = _shifts(moved, fx, fy)
        jacobian = across * du[:, None] + down * dv[:, None]  # (N, C, 6)
        size = np.linalg.norm(residual, axis=1)
        if size.mean() < least:
            best, least = motion, size.mean()
        limit = HUBER * np.median(size) + 1e-6
        weight = np.where(size < limit, 1, limit / np.maximum(size, limit))
        normal = np.einsum("n,nci,ncj->ij", weight, jacobian, jacobian)
        normal[np.diag_indices(6)] *= 1 + DAMPING
        step = np.linalg.lstsq(normal, -np.einsum("n,nci,nc->i", weight, jacobian, residual), rcond=1e-9)[0]
        motion = _rigid(step) @ motion
    shift = _project(points @ best[:3, :3].T + best[:3, 3], fx, fy, cx, cy) - start
    if not 0 < np.median(np.linalg.norm(shift, axis=1)) < FURTHEST * max(photo.shape[:2]):
        return view
    return replace(view, world_from_camera=view.world_from_camera @ np.linalg.inv(best))


def without_bias(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Cameras (V, 4, 4) `new`, less the motion in their own axes that most have in common against `old`.

    Errors of poses differ from camera to camera; all moving back, or down, is a field that is still too large.
    """
    motion = np.linalg.inv(old) @ new
    turns = Rotation.from_matrix(motion[:, :3, :3]).as_rotvec()
    motion[:, :3, :3] = Rotation.from_rotvec(turns - np.median(turns, axis=0)).as_matrix()
    motion[:, :3, 3] -= np.median(motion[:, :3, 3], axis=0)
    return old @ motion


def without_drift(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Cameras (V, 4, 4) `new`, less the shift, turn and growth that all have in common against `old`.

    Nothing fixes the world but the cameras themselves; the least squares of their motions is taken for the world's.
    """
    arms = old[:, :3, 3] - old[:, :3, 3].mean(0)
    reach = np.sqrt(np.square(arms).sum(1).mean()) or 1.0
    turns = Rotation.from_matrix(new[:, :3, :3] @ old[:, :3, :3].transpose(0, 2, 1)).as_rotvec()
    # Unknowns: the common turn w, shift t and growth s; w × arm = −[arm]× w.
    count = len(old)
    rows = np.zeros((2, count, 3, 7))
    rows[0, :, :, :3] = -_cross(arms)
    rows[0, :, :, 3:6] = np.eye(3)
    rows[0, :, :, 6] = arms
    rows[1, :, :, :3] = reach * np.eye(3)
    told = np.stack([new[:, :3, 3] - old[:, :3, 3], reach * turns])
    common = np.linalg.lstsq(rows.reshape(-1, 7), told.reshape(-1), rcond=None)[0]
    result = new.copy()
    result[:, :3, 3] -= np.einsum("nij,j->ni", rows[0], common)
    result[:, :3, :3] = Rotation.from_rotvec(-common[:3]).as_matrix() @ new[:, :3, :3]
    return result


def moved_by(before: PosedPicture, after: np.ndarray, depth: float) -> tuple[float, float]:
    """How far the picture of what is at `depth` before the camera has moved, in pixels, and how far it has turned, °."""
    height, width = before.rgba_srgb.shape[:2]
    x, y = np.meshgrid(np.linspace(0.1, 0.9, 5) * width, np.linspace(0.1, 0.9, 5) * height)
    points = depth * np.stack([(x - before.cx) / before.fx, -(y - before.cy) / before.fy, -np.ones_like(x)], -1)
    other = np.linalg.inv(after) @ before.world_from_camera
    there = _project(points.reshape(-1, 3) @ other[:3, :3].T + other[:3, 3], before.fx, before.fy, before.cx, before.cy)
    pixels = np.linalg.norm(there - np.stack([x.ravel(), y.ravel()], 1), axis=1).mean()
    return float(pixels), float(np.degrees(Rotation.from_matrix(other[:3, :3]).magnitude()))


def _points(view: PosedPicture, seen: Rendered, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Camera-space points (N, 3) of what is seen and of a rim around it, and what they look like, (N, 4).

    Without the rim an outline would be seen from inside alone, and the photo's blur would make it look smaller.
    """
    away, nearest = distance_transform_edt(~((seen.alpha > SURFACE) & np.isfinite(seen.depth)), return_indices=True)
    rows, columns = np.nonzero(away < RIM)
    x, y = (columns * stride + 0.5 - view.cx) / view.fx, (rows * stride + 0.5 - view.cy) / view.fy
    depth = seen.depth[tuple(nearest[:, rows, columns])].astype(np.float64)
    shown = np.dstack([seen.rgb_srgb, seen.alpha])[rows, columns]
    return depth[:, None] * np.stack([x, -y, -np.ones_like(x)], 1), shown


def _reduced(view: PosedPicture, by: int) -> tuple[np.ndarray, tuple[float, float]]:
    """The photo (h, w, 4) about `by` times smaller and blurred, and by how much it is smaller."""
    height, width = view.rgba_srgb.shape[:2]
    w, h = max(width // by, 1), max(height // by, 1)
    small = cv2.resize(view.rgba_srgb.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), 1.0).astype(np.float64), (w / width, h / height)


def _project(points: np.ndarray, fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    depth = np.where(points[:, 2] < 0, -points[:, 2], np.inf)
    return np.stack([cx + fx * points[:, 0] / depth, cy - fy * points[:, 1] / depth], 1)


def _shifts(points: np.ndarray, fx: float, fy: float) -> tuple[np.ndarray, np.ndarray]:
    """How column and row of camera-space points (N, 3) change with a turn and a shift of them, (N, 6) each."""
    depth, zero = -points[:, 2], np.zeros(len(points))
    by_column = np.stack([fx / depth, zero, fx * points[:, 0] / depth**2], 1)
    by_row = np.stack([zero, -fy / depth, -fy * points[:, 1] / depth**2], 1)
    turn = -_cross(points)
    du, dv = (np.concatenate([np.einsum("ni,nij->nj", by, turn), by], 1) for by in (by_column, by_row))
    return du, dv


def _cross(vectors: np.ndarray) -> np.ndarray:
    """Matrices (N, 3, 3) that make the vector product with (N, 3)."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)


def _rigid(twist: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(twist[:3]).as_matrix(), twist[3:]
    return matrix


def _sampled(picture: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Bilinear values (N, C) at places (N, 2) whose pixel centres are at +0.5."""
    x, y = (at - 0.5).T
    column, row = x.astype(int), y.astype(int)
    x, y = (x - column)[:, None], (y - row)[:, None]
    right, below = np.minimum(column + 1, picture.shape[1] - 1), np.minimum(row + 1, picture.shape[0] - 1)
    upper = picture[row, column] * (1 - x) + picture[row, right] * x
    return upper * (1 - y) + (picture[below, column] * (1 - x) + picture[below, right] * x) * y
