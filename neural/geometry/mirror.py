"""How the plane that halves a symmetric object lies in the view frame, as four numbers that a picture tells.

The plane is upright in the object, and its horizontal normal m may point to either side. The camera's horizontal
direction h, from the object, is turned from m by the azimuth a, counter-clockwise from above; so the numbers are the
sine of the camera's elevation e, the cosine and sine of 2a, which are the same for m and −m, and how symmetric the
object is. In the view frame (`predictors.view`), when the camera is level, h = (0, −sin e, cos e), the picture's right
is (1, 0, 0), and m = cos a · h − sin a · right.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ...formats.mesh import Mesh

LEAST_SYMMETRY = 0.6  # from which on an object is taken for symmetric
# The plane is looked for so far, of the mesh's extent, from its middle, at so many offsets, by so many vertices; their
# images may lie that far from the mesh, of its diagonal, on average.
_SEARCH, _OFFSETS, _SAMPLES, _UNLIKE = 0.15, 11, 400, 0.05
# Azimuths that are tried all around and, between those, about the best one; and what a plane at right angles to the
# estimated one must be more symmetric by, of the diagonal.
_TURNS, _FINER, _DOUBT = 24, 4, 0.03
_AS_GOOD = 0.05  # two planes that are symmetric but for this are both right


def pose_of(azimuth: float, elevation: float, symmetry: np.ndarray) -> np.ndarray:
    """The four numbers (4,) float32 of a camera around an object.

    azimuth: of the camera, in radians counter-clockwise from the object's x axis. symmetry: (2,) how like itself the
    object is when it is mirrored at x = 0 and at y = 0. Where both do as well, the plane is the one along which the
    camera looks more nearly: left and right are then mirrored, as most photos of objects ask for.
    """
    relative = azimuth - np.array([0, np.pi / 2])
    worse = symmetry < symmetry.max() - _AS_GOOD
    best = int(np.argmax(np.where(worse, -1, np.abs(np.sin(relative)))))
    twice = 2 * relative[best]
    return np.array([np.sin(elevation), np.cos(twice), np.sin(twice), symmetry[best]], np.float32)


def normal_of(pose: np.ndarray) -> np.ndarray:
    """The plane's unit normal (3,) in the view frame, of the four numbers; it points to the right or straight ahead."""
    sine = float(np.clip(pose[0], -1, 1))
    azimuth = np.arctan2(pose[2], pose[1]) / 2
    normal = np.array([-np.sin(azimuth), -sine * np.cos(azimuth), np.sqrt(1 - sine**2) * np.cos(azimuth)])
    return normal if normal[0] >= 0 else -normal


def plane_of(pose: np.ndarray, mesh: Mesh) -> tuple[np.ndarray, float] | None:
    """The plane, its unit normal (3,) and offset from the origin, about which a mesh in the view frame is symmetric.

    It is upright by the four numbers, and lies where the mesh is most like itself mirrored; the farther its azimuth is
    from theirs, the more so it must be. None where the numbers say that the object is not symmetric, or where the mesh
    is too unlike itself at the best plane.
    """
    if pose[3] < LEAST_SYMMETRY:
        return None
    points, tree = mesh.vertices[::-(-len(mesh.vertices) // _SAMPLES)].astype(np.float64), cKDTree(mesh.vertices)
    estimated, diagonal = np.arctan2(pose[2], pose[1]) / 2, mesh.diagonal()

    def tried(azimuth: float) -> tuple[float, float, np.ndarray, float]:
        """How bad a plane of this azimuth is, with the doubt and without, and its normal and offset."""
        normal = normal_of(np.array([pose[0], np.cos(2 * azimuth), np.sin(2 * azimuth)]))
        along = mesh.vertices @ normal
        middle, reach = (along.min() + along.max()) / 2, _SEARCH * np.ptp(along)
        offsets = np.linspace(middle - reach, middle + reach, _OFFSETS)
        apart = [tree.query(points - 2 * (points @ normal - offset)[:, None] * normal)[0].mean() for offset in offsets]
        best = int(np.argmin(apart))
        doubt = _DOUBT * np.sin(azimuth - estimated)**2
        return apart[best] / diagonal + doubt, apart[best] / diagonal, normal, float(offsets[best])

    step = np.pi / _TURNS
    coarse = min(range(_TURNS), key=lambda turn: tried(estimated + turn * step)[0])
    found = min((tried(estimated + (coarse + finer / _FINER) * step) for finer in range(1 - _FINER, _FINER)),
                key=lambda plane: plane[0])
    _, unlike, normal, offset = found
    return (normal, offset) if unlike <= _UNLIKE else None
