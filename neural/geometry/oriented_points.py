"""A scan as fewer, calmer points with outward normals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

# A point whose neighbours are this many times farther away than is usual among them is an outlier.
_OUTLIER = 3.0
_NEAR = 16
# Neighbourhoods grow from 8 points by this factor, and count as flat once the share of their variance across the
# plane is this part of its greatest value: a layer of noise σ looks round up to a radius of 2σ and is flatter from
# about 3σ on.
_GROWTH, _FLAT = 1.4, 0.8
_THIN = 0.02  # a share this small needs no averaging
_SMALL, _SPACE = 100, 30  # points of a neighbourhood for a normal, and for the share of the surface
_PROBES = 500
_BATCH = 2000
_LINKS = 12  # neighbours that a normal's direction may be handed on to


@dataclass(frozen=True)
class OrientedPoints:
    positions: np.ndarray  # (N, 3) float64, noise averaged away across the surface
    normals: np.ndarray  # (N, 3) float64 of unit length, outward up to one sign for all
    areas: np.ndarray  # (N,) of the surface that each stands for, up to one factor for all
    radius: float  # metres, of the neighbourhoods that were averaged: about three times the noise
    averaged: int  # points in each of them: few where there is no noise


def orient(points: np.ndarray, normals: np.ndarray | None) -> OrientedPoints:
    """Average points (N, 3) over neighbourhoods as wide as their noise; estimate and orient normals where absent."""
    keep = _inliers(points)
    points, normals = points[keep], None if normals is None else normals[keep]
    tree = cKDTree(points)
    flat = _neighbourhoods(points, tree)[-1]
    places, group = _clusters(points, flat.radius / 2)
    means, planes = _planes(points, tree, places, flat.size)
    if normals is not None:
        sums = np.stack([np.bincount(group, normals[:, axis]) for axis in range(3)], axis=1)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        planes = np.where(length > 1e-9, sums / np.maximum(length, 1e-9), planes)
    # Moved along the normal alone: the mean of a neighbourhood at a rim lies inwards of it.
    places = places - ((places - means) * planes).sum(axis=1, keepdims=True) * planes
    if normals is None:
        planes = _handed_on(places, planes)
    return OrientedPoints(places, planes, _areas(places), flat.radius, flat.size)


def orient_each(points: np.ndarray) -> OrientedPoints:
    """The points as they are, normals of small neighbourhoods handed on by angle alone (Hoppe et al. 1992).

    Where parts are as thin as the noise, means of wide neighbourhoods lie between their two sides; single points lie
    on one side or the other more often than not.
    """
    points = inliers(points)
    tree = cKDTree(points)
    normals = _planes(points, tree, points, min(_SMALL, len(points)))[1]
    reach = tree.query(points, k=min(_SPACE, len(points)), workers=-1)[0][:, -1]
    areas = np.minimum(reach**2, np.quantile(reach**2, 0.95))
    return OrientedPoints(points, _handed_on(points, normals, steep=False), areas, float(np.median(reach)), 1)


def inliers(points: np.ndarray) -> np.ndarray:
    """Those of points (N, 3) that are not far from all others."""
    return points[_inliers(points)]


def _inliers(points: np.ndarray) -> np.ndarray:
    distance, near = cKDTree(points).query(points, k=min(_NEAR, len(points)), workers=-1)
    usual = np.median(distance[near, -1], axis=1)
    return distance[:, -1] <= _OUTLIER * usual


class _Neighbourhood(NamedTuple):
    size: int
    radius: float
    across: float  # the share of the variance along the normal: 1/3 in a ball, 0 in a plane


def _neighbourhoods(points: np.ndarray, tree: cKDTree) -> list[_Neighbourhood]:
    """Wider and wider ones up to the first that is a piece of surface instead of a ball of noise."""
    probes = points[np.random.default_rng(0).choice(len(points), min(_PROBES, len(points)), replace=False)]
    most = min(max(len(points) // 16, 8), 2048, len(points))
    distance, near = tree.query(probes, k=most, workers=-1)
    found: list[_Neighbourhood] = []
    count = min(8, most)
    while True:
        local = points[near[:, :count]]
        local = local - local.mean(axis=1, keepdims=True)
        variance = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", local, local))
        across = float(np.median(variance[:, 0] / np.maximum(variance.sum(axis=1), 1e-300)))
        found.append(_Neighbourhood(count, float(np.median(distance[:, count - 1])), across))
        if across < max(_FLAT * max(each.across for each in found), _THIN) or count * _GROWTH > most:
            return found
        count = int(np.ceil(count * _GROWTH))


def _clusters(points: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean (M, 3) of what lies in each occupied cube, and each point's cube (N,)."""
    cube = np.floor((points - points.min(axis=0)) / max(cell, 1e-300)).astype(np.int64)
    _, group, count = np.unique(cube, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    return np.stack([np.bincount(group, points[:, axis]) for axis in range(3)], axis=1) / count[:, None], group


def _planes(points: np.ndarray, tree: cKDTree, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and unit normal (M, 3) of the `count` points around each place."""
    means, normals = np.empty_like(places), np.empty_like(places)
    for start in range(0, len(places), _BATCH):
        part = slice(start, start + _BATCH)
        distance, near = tree.query(places[part], k=count, workers=-1)
        weight = np.exp(-3 * (distance / np.maximum(distance[:, -1:], 1e-300)) ** 2)[..., None]
        weight /= weight.sum(axis=1, keepdims=True)
        means[part] = (weight * points[near]).sum(axis=1)
        away = points[near] - means[part, None]
        normals[part] = np.linalg.eigh(np.einsum("nki,nkj->nij", weight * away, away))[1][:, :, 0]
    return means, normals


def _handed_on(places: np.ndarray, normals: np.ndarray, steep: bool = True) -> np.ndarray:
    """Normals of one sign, handed on along a minimum spanning tree (Hoppe et al. 1992, section 3.3).

    A link costs the angle between the normals, or where `steep` between the link and the tangent planes if that is
    more: so that a thin plate's two sides, whose normals are parallel, hand nothing across.
    """
    near = cKDTree(places).query(places, k=min(_LINKS + 1, len(places)), workers=-1)[1][:, 1:]
    one, other = np.repeat(np.arange(len(places)), near.shape[1]), near.reshape(-1)
    link = places[other] - places[one]
    link /= np.maximum(np.linalg.norm(link, axis=1, keepdims=True), 1e-300)
    cost = 1 - np.abs((normals[one] * normals[other]).sum(axis=1))
    if steep:
        cost = np.maximum(cost, np.maximum(np.abs((link * normals[one]).sum(axis=1)),
                                           np.abs((link * normals[other]).sum(axis=1))))
    cost += 1e-3
    links = coo_matrix((cost, (one, other)), shape=(len(places), len(places))).tocsr()
    tree = minimum_spanning_tree(links.maximum(links.T))
    _, part = connected_components(tree, directed=False)
    normals = normals.copy()
    for number in range(part.max() + 1):
        # The highest point of a part faces up.
        members = np.flatnonzero(part == number)
        root = members[np.argmax(places[members, 2])]
        normals[root] *= np.copysign(1.0, normals[root, 2])
        order, before = breadth_first_order(tree, root, directed=False)
        for place in order[1:]:
            normals[place] *= np.copysign(1.0, normals[place] @ normals[before[place]])
    return normals


def _areas(places: np.ndarray) -> np.ndarray:
    """A disc's through the eighth neighbour, shared by the eight; sparse places count no more than most do."""
    count = min(8, len(places) - 1)
    reach = cKDTree(places).query(places, k=count + 1, workers=-1)[0][:, -1]
    areas = np.pi * reach**2 / count
    return np.minimum(areas, np.quantile(areas, 0.95))
