"""One mesh as a subject to photograph: how it looks, and the closed solid that it stands for.

All of it is in the subject's frame: the mesh moved so that its bounding box is centred at 0, and scaled so that the
box's longest side is 1. The axes are the world's, Z up. What is looked at is the mesh as it is, sheets and open sides
included; what is learnt is the solid of `MeshDistance`, in which parts that run into each other are one, open sides
are closed by a film, and hollows that nothing leads into are filled.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from ...formats.mesh import Mesh
from ...recipes.errors import InputError
from ..evaluation.metrics import face_normals, sample_surface
from ..geometry.mesh_distance import MeshDistance
from ..kernels.closest import closest_triangles
from ..meshing.clean import remove_inner_shells
from ..meshing.decimate import decimate
from ..meshing.marching_cubes import marching_cubes
from ..meshing.raster import sample_texture

SIDE = 64  # points of the grid along each axis; along a shorter side of the box they lie closer
POINTS = 8192  # of the outer surface
FACES = 6000  # of what is looked at, at most
REACH = 1 / 8  # the greatest distance that the grid tells
SMOOTH = np.cos(np.radians(30))  # edges that are flatter are shaded smoothly
_GREY = 0.8  # sRGB, of what has no colour
_MARGIN = 2  # of the grid's cells around the box
_THINNEST = 4  # the longest side over the shortest that the grid is fitted to
_COARSE = 4  # from point to point of those that are evaluated first
_FLAT = 0.004  # a thinner box holds a sheet
_LOST, _NEAR = 0.1, 0.02  # of the visible surface that may lie farther than this from the solid
_SNAP, _ALONG = 0.02, 0.5  # the grid's surface is nearer to the mesh's own, and has a normal like its (the cosine)
_MIRRORED = 0.02  # a mirrored point is met by a surface that is so near


class Unfit(ValueError):
    """Why a mesh bounds no solid that could be learnt."""


def kind_of_record(faces: int, hull: int) -> np.dtype:
    """The form of a subject's file, which numpy can map into memory."""
    return np.dtype([
        ("grid", np.int8, (SIDE, SIDE, SIDE)),  # the solid's signed distance in REACH / 127; see `spacing`
        ("spacing", np.float32, 3),  # from point to point of the grid, which is centred at 0
        ("points", np.float32, (POINTS, 3)),  # spread evenly over the solid's outer surface
        ("normals", np.int8, (POINTS, 3)),  # there, in 1 / 127
        ("corners", np.float32, (faces, 3, 3)),  # of the triangles that are looked at
        ("shading", np.int8, (faces, 3, 3)),  # normals at them, in 1 / 127
        ("colors", np.uint8, (faces, 3, 3)),  # sRGB at them
        ("hull", np.float32, (hull, 3)),  # the corners that can be outermost in a picture
        ("symmetry", np.float32, 2),  # how like itself mirrored at x = 0 and at y = 0, 0 to 1
    ])


def subject_of(mesh: Mesh) -> np.ndarray:
    """A record (1,) of `kind_of_record`; Unfit where the mesh bounds no solid."""
    mesh = _framed(mesh)
    grid, spacing = _solid(mesh)
    surface = _surface(grid, spacing)
    _check_nothing_is_lost(mesh, surface, grid, spacing)
    points, normals = _points(surface, mesh)
    look = _within_budget(_corner_colored(mesh))
    hull = _hull(look.vertices[look.faces].reshape(-1, 3))
    record = np.zeros(1, kind_of_record(len(look.faces), len(hull)))
    one = record[0]
    steps = grid * (127 / REACH)
    one["grid"] = np.clip(np.where(steps < 0, np.floor(steps), np.ceil(steps)), -127, 127)  # the sign is kept
    one["spacing"] = spacing
    one["points"], one["normals"] = points, np.rint(normals * 127)
    one["corners"], one["shading"] = look.triangles(), np.rint(corner_normals(look) * 127)
    one["colors"] = np.rint(look.colors.reshape(-1, 3, 3) * 255)
    one["hull"] = hull
    one["symmetry"] = [_symmetry(points[:1024], surface, axis) for axis in (0, 1)]
    return record


def _framed(mesh: Mesh) -> Mesh:
    used = mesh.vertices[mesh.faces].reshape(-1, 3).astype(np.float64)
    if not len(used) or not np.isfinite(used).all():
        raise Unfit("it has no faces, or vertices that are not finite")
    low, size = used.min(axis=0), np.ptp(used, axis=0)
    if size.min() <= _FLAT * size.max():
        raise Unfit("it is flat")
    return replace(mesh, vertices=(mesh.vertices - (low + size / 2)) / size.max(), normals=None)


def _solid(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """The signed distance (SIDE, SIDE, SIDE) and the spacing (3,) of its points."""
    try:
        distance = MeshDistance(mesh)
    except InputError as error:
        raise Unfit(str(error)) from error
    size = np.ptp(distance.box, axis=0)
    spacing = np.maximum(size, size.max() / _THINNEST) / (SIDE - 1 - 2 * _MARGIN)
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    points = np.stack(np.meshgrid(*(axis * step for step in spacing), indexing="ij"), axis=-1)
    # Exact where the surface is near; elsewhere a neighbour's value will do.
    grid = np.full((SIDE,) * 3, np.nan, np.float32)
    near = np.ones((SIDE // _COARSE,) * 3, bool)
    for stride in (_COARSE, _COARSE // 2, 1):
        part, known = grid[::stride, ::stride, ::stride], points[::stride, ::stride, ::stride]
        part[near] = distance.at(known[near])
        if stride == 1:
            break
        # The film's distance is an estimate, so that a change of sign counts as well.
        reach = spacing.max() + (stride - 1) * np.linalg.norm(spacing)
        inside = part < 0
        near = (np.abs(part) <= reach) | (ndimage.maximum_filter(inside, 3) != ndimage.minimum_filter(inside, 3))
        near, finer = _doubled(near), _doubled(part)
        grid[::stride // 2, ::stride // 2, ::stride // 2] = finer
    outside, _ = ndimage.label(grid >= 0)
    hollow = (grid >= 0) & (outside != outside[0, 0, 0])
    grid[hollow] = -np.abs(grid[hollow]) - 1e-6
    return grid, spacing


def _doubled(values: np.ndarray) -> np.ndarray:
    """Each value in two places along each axis."""
    return values.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)


def outer_surface(subject: np.void) -> Mesh:
    """The solid's closed surface, as the grid has it."""
    return _surface(subject["grid"].astype(np.float32) * (REACH / 127), subject["spacing"].astype(np.float64))


def _surface(grid: np.ndarray, spacing: np.ndarray) -> Mesh:
    subject_from_grid = np.diag([*spacing, 1.0])
    subject_from_grid[:3, 3] = -spacing * (SIDE - 1) / 2
    surface = marching_cubes(grid, subject_from_grid)
    if not len(surface.faces):
        raise Unfit("it bounds no volume")
    return remove_inner_shells(surface)


def _check_nothing_is_lost(mesh: Mesh, surface: Mesh, grid: np.ndarray, spacing: np.ndarray) -> None:
    """Sheets bound nothing: a picture would show what the solid lacks."""
    visible, _ = sample_surface(mesh, 512, seed=0)
    outside = ndimage.map_coordinates(grid, (visible / spacing + (SIDE - 1) / 2).T, order=1) >= 0
    far = closest_triangles(visible, surface.triangles())[0] > _NEAR
    if (outside & far).mean() > _LOST:
        raise Unfit("much of it is sheets, which bound no volume")


def _points(surface: Mesh, mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Points of the outer surface with normals: on the mesh itself where it runs along there, else on the film."""
    points, face = sample_surface(surface, POINTS, seed=0)
    normals = face_normals(surface)[face]
    triangles = mesh.triangles().astype(np.float64)
    distance, nearest = closest_triangles(points, triangles)
    own = face_normals(mesh)[nearest]
    own *= np.sign((own * normals).sum(axis=1, keepdims=True))  # a mesh may be inside out
    along = (distance < _SNAP) & ((own * normals).sum(axis=1) > _ALONG)
    height = ((points - triangles[nearest, 0]) * own).sum(axis=1, keepdims=True)
    return np.where(along[:, None], points - height * own, points), np.where(along[:, None], own, normals)


def _symmetry(points: np.ndarray, surface: Mesh, axis: int) -> float:
    """The share of surface points that, mirrored, lie on the surface again."""
    mirrored = points.copy()
    mirrored[:, axis] *= -1
    return float((closest_triangles(mirrored, surface.triangles())[0] <= _MIRRORED).mean())


def _hull(corners: np.ndarray) -> np.ndarray:
    try:
        return corners[ConvexHull(corners).vertices]
    except QhullError:
        return corners


def _corner_colored(mesh: Mesh) -> Mesh:
    """The mesh with a vertex of its own for each corner, coloured as the texture is there, else as its vertices.

    Faces with a texture are quartered as often as the budget allows: between corners colours are linear.
    """
    triangles = mesh.triangles()
    if mesh.texture is not None and mesh.corner_uvs is not None:
        uvs = mesh.corner_uvs
        while 4 * len(triangles) <= FACES:
            triangles, uvs = _quartered(triangles), _quartered(uvs)
        colors = sample_texture(mesh.texture, uvs.reshape(-1, 2).astype(np.float64))
    elif mesh.colors is not None:
        colors = mesh.colors[mesh.faces].reshape(-1, 3)
    else:
        colors = np.full((3 * len(mesh.faces), 3), _GREY)
    return Mesh(triangles.reshape(-1, 3), np.arange(3 * len(triangles)).reshape(-1, 3), colors=np.clip(colors, 0, 1))


def _quartered(corners: np.ndarray) -> np.ndarray:
    """Values at the corners (4F, 3, C) of each face's four quarters, of those at its own (F, 3, C)."""
    middles = (corners + np.roll(corners, -1, axis=1)) / 2
    outer = np.stack((corners, middles, np.roll(middles, 1, axis=1)), axis=2).reshape(-1, 3, corners.shape[2])
    return np.concatenate((outer, middles))


def _within_budget(mesh: Mesh) -> Mesh:
    """At most FACES faces; the colours are those of the nearest face of before."""
    if len(mesh.faces) <= FACES:
        return mesh
    _, first, index = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    reduced = decimate(Mesh(mesh.vertices[first], index.reshape(-1)[mesh.faces]), FACES)
    _, face = closest_triangles(reduced.triangles().mean(axis=1), mesh.triangles())
    assert mesh.colors is not None
    colors = np.repeat(mesh.colors[mesh.faces[face]].mean(axis=1), 3, axis=0)
    return Mesh(reduced.triangles().reshape(-1, 3), np.arange(3 * len(face)).reshape(-1, 3), colors=colors)


def corner_normals(mesh: Mesh) -> np.ndarray:
    """Normals (F, 3, 3) for shading: at each corner the mean, by area, of the faces that meet there flatly."""
    a, b, c = np.moveaxis(mesh.triangles().astype(np.float64), 1, 0)
    weighted = np.cross(b - a, c - a)
    unit = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-300)
    _, place = np.unique(mesh.vertices, axis=0, return_inverse=True)
    place = place.reshape(-1)[mesh.faces.reshape(-1)]
    order = np.argsort(place, kind="stable")
    count = np.bincount(place)
    start = np.cumsum(count) - count
    # All pairs of corners of one place.
    mates = count[place[order]]
    one = np.repeat(order, mates)
    other = order[np.repeat(start[place[order]], mates) + np.arange(mates.sum()) - np.repeat(np.cumsum(mates) - mates,
                                                                                              mates)]
    flat = (unit[one // 3] * unit[other // 3]).sum(axis=1) > SMOOTH
    normals = np.stack([np.bincount(one[flat], weighted[other[flat] // 3, axis], len(place)) for axis in range(3)], 1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    own = np.repeat(unit, 3, axis=0)
    return np.where(length > 0, normals / np.maximum(length, 1e-300), own).reshape(-1, 3, 3)
