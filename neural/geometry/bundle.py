"""Bundle adjustment: cameras and points moved together until the points are where the pictures show them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, sparse
from scipy.spatial.transform import Rotation

ITERATIONS = 30
DONE = 1e-4  # of the cost, that an iteration gains less than at the end
FIRST_DAMPING, MOST_DAMPING = 1e-3, 1e6
NEAR = 1e-6  # before a camera, from where a point is behind it


@dataclass(frozen=True)
class Bundle:
    """Cameras that look along +Z, Y down, points, and where in which picture each is seen."""

    turns: np.ndarray  # (V, 3, 3) camera from world
    shifts: np.ndarray  # (V, 3)
    points: np.ndarray  # (P, 3)
    camera: np.ndarray  # (M,) which camera and
    point: np.ndarray  # (M,) which point an observation is of
    seen: np.ndarray  # (M, 2) places in the picture less its principal point, in units of its longest side
    focal: np.ndarray  # (M, 2) in the same units

    def local(self) -> np.ndarray:
        """The observed points (M, 3) in their cameras."""
        turned = np.einsum("mij,mj->mi", self.turns[self.camera], self.points[self.point])
        return turned + self.shifts[self.camera]

    def residuals(self) -> np.ndarray:
        """Where points are projected less where they are seen, (M, 2); infinite behind the camera."""
        local = self.local()
        ahead = local[:, 2:] > NEAR
        return np.where(ahead, self.focal * local[:, :2] / np.where(ahead, local[:, 2:], 1) - self.seen, np.inf)


def adjusted(bundle: Bundle, scale: float) -> Bundle:
    """The bundle with the least sum of Cauchy losses ln(1 + (r / scale)²) of its residuals' lengths r.

    Levenberg and Marquardt's method on the system without the points (Triggs et al. 2000, "Bundle adjustment: a modern
    synthesis", section 6.1), with loss as weights. All points must be before the cameras that see them. What all
    cameras can do together (seven degrees of freedom) is held by the damping alone.
    """
    damping, cost = FIRST_DAMPING, _cost(bundle, scale)
    for _ in range(ITERATIONS):
        system = _System(bundle, scale)
        while damping < MOST_DAMPING:
            other = system.solved(damping)
            after = _cost(other, scale)
            if after < cost:
                break
            damping *= 10
        else:
            return bundle
        gain, bundle, cost, damping = 1 - after / cost, other, after, damping / 10
        if gain < DONE:
            break
    return bundle


def _cost(bundle: Bundle, scale: float) -> float:
    return float(np.log1p(np.square(bundle.residuals() / scale).sum(1)).sum())


class _System:
    """The weighted normal equations of a bundle, for turns and shifts of its cameras and shifts of its points."""

    def __init__(self, bundle: Bundle, scale: float):
        self._bundle = bundle
        residual, local = bundle.residuals(), bundle.local()
        weight = (1 / np.sqrt(1 + np.square(residual / scale).sum(1)))[:, None]
        x, y, z = local.T
        project = np.zeros((len(z), 2, 3))  # how the projection changes with the point in the camera
        project[:, 0, 0] = project[:, 1, 1] = 1 / z
        project[:, 0, 2], project[:, 1, 2] = -x / z**2, -y / z**2
        project *= (weight * bundle.focal)[..., None]
        zero = np.zeros_like(z)
        turn = np.stack([zero, z, -y, -z, zero, x, y, -x, zero], 1).reshape(-1, 3, 3)  # w × p = turn w
        by_camera = np.concatenate([project @ turn, project], 2)
        by_point = project @ bundle.turns[bundle.camera]
        rows, count = np.arange(len(z) + 1), 2 * len(z)
        cameras = sparse.bsr_array((by_camera, bundle.camera, rows), shape=(count, 6 * len(bundle.turns))).tocsr()
        points = sparse.bsr_array((by_point, bundle.point, rows), shape=(count, 3 * len(bundle.points))).tocsr()
        right = (weight * residual).ravel()
        self._both = (cameras.T @ points).tocsr()
        self._camera = (cameras.T @ cameras).toarray()
        self._point = np.zeros((len(bundle.points), 3, 3))
        np.add.at(self._point, bundle.point, by_point.transpose(0, 2, 1) @ by_point)
        self._right = -(cameras.T @ right), -(points.T @ right)

    def solved(self, damping: float) -> Bundle:
        """The bundle after a step, with diagonals larger by this share."""
        count = len(self._point)
        diagonal = np.arange(3)
        point = self._point.copy()
        point[:, diagonal, diagonal] *= 1 + damping
        point[:, diagonal, diagonal] += 1e-12 * point.max()
        inverse = sparse.bsr_array((np.linalg.inv(point), np.arange(count), np.arange(count + 1)),
                                   shape=(3 * count, 3 * count)).tocsr()
        through = self._both @ inverse
        reduced = self._camera - (through @ self._both.T).toarray()
        own = np.diag(self._camera)
        reduced[np.diag_indices(len(own))] += damping * own + 1e-12 * own.max()
        step = linalg.solve(reduced, self._right[0] - through @ self._right[1], assume_a="sym")
        shift = inverse @ (self._right[1] - self._both.T @ step)
        motion, bundle = step.reshape(-1, 6), self._bundle
        turn = Rotation.from_rotvec(motion[:, :3]).as_matrix()
        return replace(bundle, turns=turn @ bundle.turns, points=bundle.points + shift.reshape(-1, 3),
                       shifts=np.einsum("vij,vj->vi", turn, bundle.shifts) + motion[:, 3:])


def onto(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Cameras (V, 4, 4) `new`, moved together by the similarity that brings them closest to `old`.

    Nothing fixes the world but the cameras themselves. The turn is the least squares' of places (Umeyama 1991) and of
    axes, which count like places at the cameras' mean distance from their middle, as places in a row tell too little.
    """
    there, here = old[:, :3, 3].mean(0), new[:, :3, 3].mean(0)
    arms_old, arms_new = old[:, :3, 3] - there, new[:, :3, 3] - here
    reach, size = (float(np.square(arms).sum()) for arms in (arms_old, arms_new))
    places = arms_old.T @ arms_new * (reach / size) ** 0.5 if size else np.zeros((3, 3))
    axes = np.einsum("nij,nkj->ik", old[:, :3, :3], new[:, :3, :3])
    u, _, v = np.linalg.svd(places + (reach / len(old) or 1.0) * axes)
    turn = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    arms_new = arms_new @ turn.T
    scale = (arms_old * arms_new).sum() / size if size else 1.0
    result = new.copy()
    result[:, :3, :3] = turn @ new[:, :3, :3]
    result[:, :3, 3] = there + scale * arms_new
    return result
