"""Poses refined by what matches in the pictures, with the given ones as the start."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from .bundle import Bundle, adjusted, onto
from .epipolar import sampson_distances
from .matching import features, neighbours, rigid_matches
from .posed import PosedPicture
from .sparse_points import directions

NEIGHBOURS = 10  # pictures that each is matched with
FEWEST_MATCHES = 16  # of two pictures on which a fundamental matrix agrees
# From where it should be, as a share of the longest side, a point may be seen in each round: the first finds what
# poses that are off by degrees show, the last has what is left beside the features' own noise.
ROUNDS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.005)
LOSS = 0.2  # of that is the scale of Cauchy's loss
APART = 0.03  # radians between two of a point's rays, at least
FEWEST = 12  # points that a picture shows, below which its pose stays
FLIP = np.diag([1.0, -1.0, -1.0])  # a camera that looks along −Z, Y up, is a bundle's one turned so


@dataclass(frozen=True)
class Refined:
    """Poses, and what is said of them."""

    poses: np.ndarray  # (V, 4, 4) world from camera; the given ones where the others are no better
    figures: dict[str, Any]  # of the report
    warning: str | None = None

    def to_json(self) -> str:
        """As text, to the bit."""
        return json.dumps({"poses": self.poses.tolist(), "figures": self.figures, "warning": self.warning})

    @classmethod
    def from_json(cls, text: str) -> Refined:
        """What `to_json` wrote."""
        read = json.loads(text)
        return cls(np.array(read["poses"]), read["figures"], read["warning"])


@dataclass(frozen=True)
class _Tracks:
    """Which point (M,) is seen in which picture (M,) at which place (M, 2) in pixels."""

    point: np.ndarray
    picture: np.ndarray
    place: np.ndarray

    def only(self, kept: np.ndarray) -> _Tracks:
        """Those observations; points that are seen less than twice go, the others are numbered anew."""
        kept = kept & (np.bincount(self.point[kept], minlength=self.point.max(initial=0) + 1)[self.point] > 1)
        return _Tracks(np.unique(self.point[kept], return_inverse=True)[1], self.picture[kept], self.place[kept])


def refined_poses(pictures: Sequence[PosedPicture],
                  on_progress: Callable[[float], None] = lambda share: None) -> Refined:
    """The poses after bundle adjustment of SIFT matches, where these lie closer to their epipolar lines than before.

    Intrinsics stay. The refined cameras are brought onto the given ones by a similarity, so that the scene keeps its
    place and size. Pictures that too little matches in keep their pose.
    """
    found = []
    for picture in pictures:
        found.append(features(picture))
        on_progress(0.3 * len(found) / len(pictures))
    pairs: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    candidates = neighbours(pictures, NEIGHBOURS)
    for a, b in candidates:
        pairs[a, b] = rigid_matches(found[a], found[b], FEWEST_MATCHES)
        on_progress(0.3 + 0.5 * len(pairs) / len(candidates))
    given = np.array([p.world_from_camera for p in pictures])

    def error(poses: np.ndarray) -> float:
        """Median distance in pixels from where these poses have what matches."""
        now = [replace(p, world_from_camera=pose) for p, pose in zip(pictures, poses, strict=True)]
        distances = [sampson_distances(now[a], found[a][0][first], now[b], found[b][0][second])
                     for (a, b), (first, second) in pairs.items()]
        return float(np.median(np.concatenate(distances))) * max(pictures[0].rgba_srgb.shape[:2])

    if not any(len(first) for first, _ in pairs.values()):
        return Refined(given, {}, "poses: nothing matches in the pictures by which to refine them; they stay as given")
    poses, depth = _adjusted(pictures, given, _tracks([places for places, _ in found], pairs))
    before, after = error(given), error(poses)
    moved = np.isfinite(depth)
    on_progress(1.0)
    if not after < before:
        return Refined(given, {}, f"poses: points that match are {before:.2f} px from where the given cameras have "
                                  f"them, {after:.2f} px from where refined ones do; the poses stay as given")
    by = np.array([moved_by(pictures[n], poses[n], float(depth[n])) for n in np.flatnonzero(moved).tolist()])
    figures = {"mean_px": round(float(by[:, 0].mean()), 2), "max_px": round(float(by[:, 0].max()), 2),
               "mean_deg": round(float(by[:, 1].mean()), 3), "max_deg": round(float(by[:, 1].max()), 3),
               "epipolar_px_before": round(before, 3), "epipolar_px_after": round(after, 3),
               "views_refined": int(moved.sum()), "views_kept": int((~moved).sum())}
    return Refined(poses, figures)


def moved_by(before: PosedPicture, after: np.ndarray, depth: float) -> tuple[float, float]:
    """How far the picture of what is at `depth` before the camera has moved, in pixels, and by how many degrees it has
    turned."""
    height, width = before.rgba_srgb.shape[:2]
    x, y = np.meshgrid(np.linspace(0.1, 0.9, 5) * width, np.linspace(0.1, 0.9, 5) * height)
    points = depth * np.stack([(x - before.cx) / before.fx, -(y - before.cy) / before.fy, -np.ones_like(x)], -1)
    other = np.linalg.inv(after) @ before.world_from_camera
    px, py, pz = np.moveaxis(points @ other[:3, :3].T + other[:3, 3], -1, 0)
    off = np.hypot(before.cx - before.fx * px / pz - x, before.cy + before.fy * py / pz - y)
    return float(off.mean()), float(np.degrees(Rotation.from_matrix(other[:3, :3]).magnitude()))


def _tracks(places: Sequence[np.ndarray], pairs: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]) -> _Tracks:
    """What matches with each other, in any number of pictures; what is in one picture twice is left out."""
    first = np.cumsum([0] + [len(p) for p in places])
    a = np.concatenate([first[i] + one for (i, _), (one, _) in pairs.items()])
    b = np.concatenate([first[j] + other for (_, j), (_, other) in pairs.items()])
    joined = sparse.coo_array((np.ones(len(a)), (a, b)), shape=(first[-1],) * 2)
    point = connected_components(joined, directed=False)[1]
    picture = np.repeat(np.arange(len(places)), np.diff(first))
    pair, count = np.unique(np.stack([point, picture]), axis=1, return_counts=True)
    twice = np.zeros(point.max() + 1, bool)
    twice[pair[0][count > 1]] = True
    return _Tracks(point, picture, np.concatenate(list(places))).only(~twice[point])


def _adjusted(pictures: Sequence[PosedPicture], poses: np.ndarray, tracks: _Tracks) -> tuple[np.ndarray, np.ndarray]:
    """Poses (V, 4, 4) after all rounds, and the median depth (V,) of what each shows, NaN where it stays as it is."""
    given = poses
    depth = np.full(len(poses), np.nan)
    for within in ROUNDS:
        began = _bundle(pictures, poses, tracks, within)
        if began is None:
            break
        views, bundle = began[0], adjusted(began[1], LOSS * within)
        turn = bundle.turns.transpose(0, 2, 1)
        moved = poses[views].copy()
        moved[:, :3, :3] = turn @ FLIP
        moved[:, :3, 3] = -np.einsum("vij,vj->vi", turn, bundle.shifts)
        poses, depth = given.copy(), np.full(len(poses), np.nan)
        poses[views] = onto(given[views], moved)
        local = bundle.local()[:, 2]
        depth[views] = [np.median(local[bundle.camera == n]) for n in range(len(views))]
    return poses, depth


def _bundle(pictures: Sequence[PosedPicture], poses: np.ndarray, tracks: _Tracks,
            within: float) -> tuple[np.ndarray, Bundle] | None:
    """Which pictures take part, and the bundle of what fits their poses so well; None where nothing does."""
    now = [replace(p, world_from_camera=pose) for p, pose in zip(pictures, poses, strict=True)]
    for _ in range(4):  # A point is found anew without what does not fit it.
        if not len(tracks.point):
            return None
        points, good = _triangulated(now, tracks)
        residual = np.linalg.norm(_as_bundle(now, tracks, points).residuals(), axis=1)
        tracks = tracks.only((residual < within) & good[tracks.point])
        enough = np.bincount(tracks.picture, minlength=len(pictures)) >= FEWEST
        tracks = tracks.only(enough[tracks.picture])
    if not len(tracks.point):
        return None
    bundle = _as_bundle(now, tracks, _triangulated(now, tracks)[0])
    if not np.isfinite(bundle.residuals()).all():  # a point is still behind a camera
        return None
    views, camera = np.unique(tracks.picture, return_inverse=True)
    return views, replace(bundle, turns=bundle.turns[views], shifts=bundle.shifts[views], camera=camera)


def _as_bundle(pictures: Sequence[PosedPicture], tracks: _Tracks, points: np.ndarray) -> Bundle:
    turns = np.array([FLIP @ p.world_from_camera[:3, :3].T for p in pictures])
    shifts = np.array([-turn @ p.world_from_camera[:3, 3] for p, turn in zip(pictures, turns, strict=True)])
    longest = np.array([max(p.rgba_srgb.shape[:2]) for p in pictures])[tracks.picture, None]
    middle, focal = (np.array(pair)[tracks.picture] for pair in
                     ([(p.cx, p.cy) for p in pictures], [(p.fx, p.fy) for p in pictures]))
    return Bundle(turns, shifts, points, tracks.picture, tracks.point, (tracks.place - middle) / longest,
                  focal / longest)


def _triangulated(pictures: Sequence[PosedPicture], tracks: _Tracks) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) closest to their rays, and which of them (P,) have two rays that are far enough apart."""
    ray = np.zeros((len(tracks.point), 3))
    for n, picture in enumerate(pictures):
        here = tracks.picture == n
        ray[here] = directions(picture, tracks.place[here])
    origin = np.array([p.world_from_camera[:3, 3] for p in pictures])[tracks.picture]
    across = np.eye(3) - ray[:, :, None] * ray[:, None]
    count = tracks.point.max() + 1
    left, right, mean = np.zeros((count, 3, 3)), np.zeros((count, 3)), np.zeros((count, 3))
    np.add.at(left, tracks.point, across)
    np.add.at(right, tracks.point, np.einsum("mij,mj->mi", across, origin))
    np.add.at(mean, tracks.point, ray)
    seen = np.bincount(tracks.point)
    # Of n unit vectors at angles a from their mean, the mean's length is the mean of cos a.
    apart = 2 * np.arccos(np.clip(np.linalg.norm(mean, axis=1) / seen, 0, 1))
    left += 1e-12 * np.eye(3)
    return np.linalg.solve(left, right[..., None])[..., 0], apart > APART
