"""Point clouds: .ply, .xyz and other text, .npy and .npz, and .obj files without faces.

Points carry no axes of their own: coordinates are taken as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..recipes.errors import InputError

TEXT = (".xyz", ".txt", ".asc", ".pts", ".csv")
READABLE = (".ply", *TEXT, ".npy", ".npz", ".obj")
MOST_POINTS = 50_000_000

_TYPES = {"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
          "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
          "double": "f8", "float64": "f8"}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class Points:
    """A point cloud in Blender's world."""

    positions: np.ndarray  # (N, 3) float32 metres
    normals: np.ndarray | None = None  # (N, 3) float32 unit length, outward
    left_out: int = 0  # points of the file that were not finite

    def diagonal(self) -> float:
        """Length of the bounding box's diagonal; 0 where there are no points."""
        return float(np.linalg.norm(np.ptp(self.positions, axis=0))) if len(self.positions) else 0.0


def read_points(path: Path) -> Points:
    """Read a point cloud; InputError where it is missing, damaged or empty. Points that are not finite are left out.

    Text has a point a line, 3 columns or more, separated by spaces, tabs, commas or semicolons; a line that does not
    begin with numbers is a heading. Of columns 4 to 6 a normal is made where they are unit vectors in all lines, as
    they are not where colours stand there. .npy is (N, 3) or (N, 6), .npz has `points` and may have `normals`.
    """
    path = Path(path)
    read = {".ply": _read_ply, ".npy": _read_npy, ".npz": _read_npz, ".obj": _read_obj,
            **dict.fromkeys(TEXT, _read_text)}.get(path.suffix.lower())
    if read is None:
        raise InputError(f"points: {path} has an ending that is not read; give one of {' '.join(READABLE)}")
    if not path.is_file():
        raise InputError(f"points: {path} does not exist; check the path")
    try:
        columns = read(path)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # numpy, zipfile and the header's words fail in their own ways
        line = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"points: {path} cannot be read as {path.suffix[1:].lower()} ({line}); it may be damaged or "
                         "cut short, write it again") from error
    return _cleaned(columns, path)


def read_ply_points(path: Path) -> np.ndarray:
    """Positions (N, 3) float64 of a PLY file's vertices, those that are not finite left out."""
    return read_points(path).positions.astype(np.float64)


def ply_faces(path: Path) -> int:
    """How many faces the header of a PLY file promises; 0 where it cannot be read."""
    with open(path, "rb") as file:
        for line in file.read(100_000).split(b"end_header")[0].splitlines():
            words = line.split()
            if words[:2] == [b"element", b"face"] and len(words) == 3 and words[2].isdigit():
                return int(words[2])
    return 0


def write_npz(points: Points, path: Path) -> None:
    """The job folder's own form."""
    normals = {} if points.normals is None else {"normals": points.normals}
    np.savez(path, points=points.positions, left_out=points.left_out, **normals)


def read_npz(path: Path) -> Points:
    """Read what `write_npz` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Points(arrays["points"], arrays["normals"] if "normals" in arrays else None, int(arrays["left_out"]))


def _cleaned(columns: np.ndarray, path: Path) -> Points:
    """(N, 3) or (N, 6) to points; what columns 4 to 6 hold counts as normals only if they are unit vectors."""
    finite = np.isfinite(columns[:, :3]).all(axis=1)
    if not finite.any():
        what = f"has {len(columns)} points, none of them finite" if len(columns) else "has no points"
        raise InputError(f"points: {path} {what}; write it again")
    kept = columns[finite]
    normals = None
    if columns.shape[1] == 6:
        length = np.linalg.norm(kept[:, 3:].astype(np.float64), axis=1)
        if np.isfinite(length).all() and (np.abs(length - 1) < 0.05).all():
            normals = (kept[:, 3:] / length[:, None]).astype(np.float32)
    return Points(np.ascontiguousarray(kept[:, :3], np.float32), normals, int((~finite).sum()))


def _read_ply(path: Path) -> np.ndarray:
    """The vertices, which are the file's first element, as every writer of point clouds has them."""
    data = path.read_bytes()
    head, mark, body = data.partition(b"end_header\n")
    if not mark:
        head, mark, body = data.partition(b"end_header\r\n")
    lines = [line.split() for line in head.decode("ascii").splitlines()]
    try:
        order = _ORDERS[next(words[1] for words in lines if words[:1] == ["format"])]
        first = next(i for i, words in enumerate(lines) if words[:1] == ["element"])
    except (StopIteration, KeyError, IndexError):
        raise InputError(f"points: {path} is not a PLY file with x, y, z (its header names no format or element); "
                         "mend or remove it") from None
    count = int(lines[first][2])
    properties = []
    for words in lines[first + 1:]:
        if words[:1] == ["element"]:
            break
        if words[:1] == ["property"]:
            properties.append((words[-1], order + _TYPES[words[1]]))
    names = [name for name, _ in properties]
    if not {"x", "y", "z"} <= set(names):
        raise InputError(f"points: {path} is not a PLY file with x, y, z (it has {', '.join(names)}); "
                         "mend or remove it")
    wanted = [*"xyz", *(("nx", "ny", "nz") if {"nx", "ny", "nz"} <= set(names) else ())]
    if order:
        vertices = np.frombuffer(body, dtype=properties, count=count)
        return np.stack([vertices[name] for name in wanted], axis=1)
    rows = [line.split() for line in body.decode("ascii").splitlines()[:count]]
    return np.array(rows, dtype=np.float64).reshape(count, len(names))[:, [names.index(name) for name in wanted]]


def _read_text(path: Path) -> np.ndarray:
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.replace(",", " ").replace(";", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            row = [float(word) for word in words[:6]]
        except ValueError:
            if rows:
                raise InputError(f"points: {path} has no numbers in line {number} ({line.strip()[:40]!r}); "
                                 "mend or remove the line") from None
            continue  # a heading
        if len(row) < 3:
            if rows:
                raise InputError(f"points: {path} has {len(row)} columns in line {number}; give x, y and z")
            continue  # a count of points, as .pts files begin with
        rows.append(row)
    width = 6 if rows and min(map(len, rows)) == 6 else 3
    return np.array([row[:width] for row in rows], np.float64).reshape(-1, width)


def _read_obj(path: Path) -> np.ndarray:
    words = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return np.array([[float(word) for word in row[1:4]] for row in words if row[:1] == ["v"]]).reshape(-1, 3)


def _read_npy(path: Path) -> np.ndarray:
    return _checked(np.load(path, allow_pickle=False, mmap_mode="r"), path)


def _read_npz(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        if "points" not in arrays:
            raise InputError(f"points: {path} has no array named points (it has {', '.join(arrays.files[:5])}); save "
                             "them under that name")
        points = _checked(arrays["points"], path)
        if "normals" not in arrays or points.shape[1] != 3:
            return points
        return np.hstack((points, _checked(arrays["normals"], path)))


def _checked(values: np.ndarray, path: Path) -> np.ndarray:
    if values.ndim != 2 or values.shape[1] not in (3, 6) or values.dtype.kind not in "iuf":
        raise InputError(f"points: {path} has an array of shape {values.shape} and type {values.dtype}; give (N, 3), "
                         "or (N, 6) with normals")
    if len(values) > MOST_POINTS:
        raise InputError(f"points: {path} has {len(values):,} points; give at most {MOST_POINTS:,}")
    return np.asarray(values, np.float64)
