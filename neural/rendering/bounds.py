"""Where the subject is: its box, and the cells that the pictures' alpha leaves (the visual hull)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ...formats.cameras import check_views
from ...recipes.errors import InputError
from ..geometry.posed import PosedPicture
from ..geometry.projection import project
from .lattice import Lattice

# Film filters spread a trace of alpha over neighbouring pixels; less than this is background.
OPAQUE = 0.02
DEVIATIONS = 2.0  # of a picture's depth, by which it must see through an empty cell
COARSE = 64  # resolution at which the subject's box is found


def find_box(pictures: Sequence[PosedPicture], points: np.ndarray | None = None) -> np.ndarray:
    """The subject's world-aligned box (2, 3), lower and upper corner, from the training views.

    With alpha it is the box of the visual hull; without, that of the sparse `points` (N, 3) which most cameras see, or
    the volume that they look at together.
    Raises InputError where the views show no subject.
    """
    check_views(pictures)
    train = [p for p in pictures if p.split == "train"]
    masked = [p for p in train if p.has_alpha]
    if masked and not any(_silhouette(p).any() for p in masked):
        raise InputError(f"views: all {len(masked)} pictures are empty (alpha is 0 everywhere); no camera sees the "
                         "subject, so point the cameras at it")
    box = _silhouettes_box(masked) if masked else None
    if box is None and points is not None and len(points) and not masked:
        sights = np.sum([_sees(p, points) for p in train], axis=0)
        return box_of_points(points[2 * sights >= sights.max()])
    if box is None:
        return _box_before_cameras(train)
    for _ in range(2):  # The second pass carves finer voxels in the box that the first has found.
        lattice = Lattice.over(box, COARSE)
        hull = visual_hull(train, lattice)
        if not hull.any():
            raise InputError("views: no place is inside the alpha of every picture; check that the cameras and "
                             "the alpha belong together")
        box = _occupied_box(hull, lattice)
    return box


def box_of_points(points: np.ndarray) -> np.ndarray:
    """A box (2, 3) around sparse points (N, 3) that leaves out stray ones, with a tenth to spare."""
    lower, upper = np.percentile(points, [2, 98], axis=0)
    return np.stack([lower, upper]) + 0.1 * np.outer([-1, 1], np.maximum(upper - lower, 0.05 * np.ptp(upper - lower)))


def visual_hull(pictures: Sequence[PosedPicture], lattice: Lattice) -> np.ndarray:
    """Cells that may hold the subject, (X, Y, Z) bool (Laurentini 1994), from all given pictures.

    Conservative: a cell goes only where a view shows nothing but background over all of its footprint;
    what lies outside a picture is not known from it. Cells that fewer than two views see go as well.
    Blocks of cells that are clearly inside or outside are decided at once, from coarse to fine.
    """
    views = [_View(p, lattice.lower) for p in pictures]
    shape = np.array(lattice.cells)
    hull = np.zeros(lattice.cells, bool)
    step = 2 ** max(int(np.log2(shape.max() / 12)), 0)
    cells = np.argwhere(np.ones(-(-shape // step), bool))
    while len(cells):
        centres = lattice.voxel * step * (cells + 0.5)
        kept, inside = _classify(centres, np.float32(lattice.voxel * step * 3**0.5 / 2), views)
        if step == 1:
            hull[tuple(cells[kept].T)] = True
            break
        _fill(hull, cells[inside], step)
        children = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3)
        cells = (2 * cells[kept & ~inside][:, None] + children).reshape(-1, 3)
        step //= 2
        cells = cells[(cells * step < shape).all(1)]
    return hull


def seen_cells(pictures: Sequence[PosedPicture], lattice: Lattice) -> np.ndarray:
    """Cells of a lattice with a shell that may hold something, (X, Y, Z) bool.

    Two views must see a cell, or its neighbour: what a single one sees just before it explains that picture alone.
    Further out than the cameras are, where they look apart, one is enough.
    """
    index = np.argwhere(np.ones(lattice.cells, bool)) + 0.5
    places = lattice.places(index)
    sights = np.zeros(len(places), np.int32)
    for p in pictures:
        sights += _sees(p, places)
    furthest = lattice.outward(np.array([p.world_from_camera[:3, 3] for p in pictures])).max()
    kept = (sights >= 2) | (sights == 1) & (lattice.outward(places) > furthest)
    return ndimage.maximum_filter(kept.reshape(lattice.cells), 3)


def free_cells(pictures: Sequence[PosedPicture], lattice: Lattice, cells: np.ndarray, precision: float) -> np.ndarray:
    """Which `cells` (N, 3) of a lattice the pictures' depth, where it is wholly trusted, shows to be empty, (N,) bool.

    One sees through a cell (what is wholly trusted, several agree about), and for none it is where a surface is, to
    the share `precision` of the depth and to the cell's own size.
    """
    middles = cells + 0.5
    places = lattice.places(middles)
    half = np.full(len(cells), 0.5 * 3**0.5 * lattice.voxel)
    if lattice.shell:  # A cell out there is as much larger as the space in it is contracted.
        outward = lattice.outward(places)
        half = half * np.where(outward > 1, outward**2 / lattice.shell, 1.0)
    through, at = np.zeros((2, len(cells)), bool)
    for p in pictures:
        if p.depth is None:
            continue
        x, y, z = project(p, places)
        height, width = p.depth.shape
        inside = (z > 0) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
        sure = p.depth if p.depth_weight is None else np.where(p.depth_weight == 1, p.depth, np.nan)
        depth = sure[np.where(inside, y, 0).astype(int), np.where(inside, x, 0).astype(int)]
        margin = half + DEVIATIONS * precision * z
        through |= inside & (depth > z + margin)
        at |= inside & (np.abs(depth - z) <= margin)
    return through & ~at


def _sees(picture: PosedPicture, points: np.ndarray) -> np.ndarray:
    """Which points (N, 3) lie within a picture, (N,) bool."""
    x, y, z = ((points - picture.world_from_camera[:3, 3]) @ picture.world_from_camera[:3, :3]).T
    z = np.minimum(z, -1e-9)
    column, row = picture.cx - picture.fx * x / z, picture.cy + picture.fy * y / z
    height, width = picture.rgba_srgb.shape[:2]
    return (z < -1e-9) & (column >= 0) & (column < width) & (row >= 0) & (row < height)


class _View:
    """A silhouette as a summed-area table: the subject's pixels in any rectangle from four look-ups.

    Positions are relative to `origin`, so that float32 serves worlds whose origin is far away.
    """

    def __init__(self, picture: PosedPicture, origin: np.ndarray):
        silhouette = _silhouette(picture)
        self.height, self.width = silhouette.shape
        self.sums = np.zeros((self.height + 1, self.width + 1), np.int32)
        self.sums[1:, 1:] = silhouette.cumsum(0, dtype=np.int32).cumsum(1, dtype=np.int32)
        camera_from_world = np.linalg.inv(picture.world_from_camera)
        self.rotation = camera_from_world[:3, :3].astype(np.float32)
        self.offset = (camera_from_world[:3, :3] @ origin + camera_from_world[:3, 3])[:, None].astype(np.float32)
        self.fx, self.fy, self.cx, self.cy = map(np.float32, (picture.fx, picture.fy, picture.cx, picture.cy))

    def see(self, centres: np.ndarray, radius: np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For balls (3, N): whether the view sees any of it, may hold the subject, shows only the subject."""
        p = self.rotation @ centres + self.offset
        x, y, z = p[0], -p[1], -p[2]
        front = z > 1.01 * radius
        z = np.where(front, z, 1.0)
        # The largest |x'/z' − x/z| over the ball's points (x', z').
        reach = radius / (z * np.where(front, z - radius, 1.0))
        u, du = self.fx * x / z + self.cx, self.fx * reach * np.sqrt(x * x + z * z)
        v, dv = self.fy * y / z + self.cy, self.fy * reach * np.sqrt(y * y + z * z)
        left, right = _pixels(u - du, u + du, self.width)
        top, bottom = _pixels(v - dv, v + dv, self.height)
        s, stride = self.sums.ravel(), np.int32(self.width + 1)
        low, high = top * stride, bottom * stride
        count = s[high + right] - s[low + right] - s[high + left] + s[low + left]
        area = (right - left) * (bottom - top)
        whole = (u - du >= 0) & (v - dv >= 0) & (u + du <= self.width) & (v + dv <= self.height)
        seen = front & (area > 0)
        return seen, ~front | ~whole | (count > 0), ~seen | (count == area)


def _silhouette(picture: PosedPicture) -> np.ndarray:
    if not picture.has_alpha:
        return np.ones(picture.rgba_srgb.shape[:2], bool)
    silhouette = picture.rgba_srgb[..., 3] > OPAQUE
    return silhouette if picture.weight is None else silhouette | (picture.weight == 0)


def _pixels(low: np.ndarray, high: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels [first, last) that an interval of the picture plane touches."""
    return (np.clip(np.floor(low), 0, size).astype(np.int32), np.clip(np.ceil(high), 0, size).astype(np.int32))


def _classify(centres: np.ndarray, radius: np.float32, views: list[_View]) -> tuple[np.ndarray, np.ndarray]:
    """Which cells may hold the subject, and which surely do as far as the pictures tell."""
    number = len(centres)
    centres = np.ascontiguousarray(centres.T, np.float32)
    inside = np.ones(number, bool)
    sights = np.zeros(number, np.int32)
    alive = np.arange(number)
    for view in views:
        seen, may, full = view.see(centres[:, alive], radius)
        sights[alive] += seen
        inside[alive] &= full
        alive = alive[may]
    kept = np.zeros(number, bool)
    kept[alive] = sights[alive] >= 2
    return kept, inside & kept


def _fill(hull: np.ndarray, cells: np.ndarray, step: int) -> None:
    coarse = np.zeros([-(-n // step) for n in hull.shape], bool)
    coarse[tuple(cells.T)] = True
    for axis in range(3):
        coarse = np.repeat(coarse, step, axis)
    hull |= coarse[tuple(slice(n) for n in hull.shape)]


def _occupied_box(hull: np.ndarray, lattice: Lattice) -> np.ndarray:
    cells = np.argwhere(hull)
    return lattice.lower + lattice.voxel * np.stack([cells.min(0), cells.max(0) + 1])


def _silhouettes_box(pictures: list[PosedPicture]) -> np.ndarray | None:
    """The box of the intersection of the pyramids through the silhouettes' rectangles; None where it is open.

    A side of a rectangle that touches the picture's border bounds nothing: the subject may go on beyond it.
    """
    from scipy.optimize import linprog

    planes = np.concatenate([_pyramid(p) for p in pictures])
    # Positions relative to the cameras' middle and in units of their spread keep the solver well scaled.
    places = np.array([p.world_from_camera[:3, 3] for p in pictures])
    middle, scale = places.mean(0), np.ptp(places, axis=0).max() or 1.0
    normals, offsets = planes[:, :3], (planes[:, :3] @ middle + planes[:, 3]) / scale
    box = np.zeros((2, 3))
    for axis in range(3):
        for side in range(2):
            cost = np.zeros(3)
            cost[axis] = 1 - 2 * side
            answer = linprog(cost, A_ub=-normals, b_ub=offsets, bounds=(-1e3, 1e3))
            if answer.status == 2:
                raise InputError("views: no place is inside the alpha of every picture; check that the cameras and "
                                 "the alpha belong together")
            if answer.status != 0 or abs(answer.x[axis]) > 999:
                return None
            box[side, axis] = middle[axis] + scale * answer.x[axis]
    return box if (box[1] > box[0]).all() else None


def _pyramid(picture: PosedPicture) -> np.ndarray:
    """World half-spaces (M, 4), n·x + d ≥ 0, that hold the subject; M is 0 where a view shows none of it."""
    silhouette = _silhouette(picture)
    if not silhouette.any():
        return np.zeros((0, 4))
    rows, columns = np.flatnonzero(silhouette.any(1)), np.flatnonzero(silhouette.any(0))
    height, width = silhouette.shape
    planes = [[0, 0, -1.0]]
    if columns[0] > 0:
        planes.append([1, 0, (columns[0] - picture.cx) / picture.fx])
    if columns[-1] < width - 1:
        planes.append([-1, 0, -(columns[-1] + 1 - picture.cx) / picture.fx])
    if rows[0] > 0:
        planes.append([0, -1, (rows[0] - picture.cy) / picture.fy])
    if rows[-1] < height - 1:
        planes.append([0, 1, -(rows[-1] + 1 - picture.cy) / picture.fy])
    normals = np.array(planes)
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True) @ np.linalg.inv(picture.world_from_camera)[:3, :3]
    return np.column_stack([normals, -normals @ picture.world_from_camera[:3, 3]])


def _box_before_cameras(pictures: list[PosedPicture]) -> np.ndarray:
    """The cube around the point nearest to all optical axes that the cameras' pictures span there."""
    places = np.array([p.world_from_camera[:3, 3] for p in pictures])
    axes = np.array([-p.world_from_camera[:3, 2] for p in pictures])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    focus, _, _, spread = np.linalg.lstsq(across.sum(0), (across @ places[:, :, None]).sum(0)[:, 0], rcond=None)
    distances = ((focus - places) * axes).sum(1)
    # Axes that are almost parallel, or that part, meet nowhere in front: look as far as the cameras are spread.
    if spread[-1] < 1e-3 * len(pictures) or np.median(distances) <= 0:
        distances = np.full(len(pictures), 2 * np.ptp(places, axis=0).max())
        focus = (places + distances[:, None] * axes).mean(0)
    sides = [0.5 * min(p.rgba_srgb.shape[1] / p.fx, p.rgba_srgb.shape[0] / p.fy) for p in pictures]
    half = float(np.median(np.abs(distances) * sides))
    return focus + half * np.array([[-1.0] * 3, [1.0] * 3])
