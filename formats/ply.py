"""PLY's faces: written with three and four corners, and read with any number, which trimesh cannot in binary files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .mesh import Mesh

_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
          "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
          "float32": "f4", "float64": "f8"}
_AT_ONCE = 1 << 16


def write_ply(mesh: Mesh, colors: np.ndarray | None, path: Path) -> None:
    """Write binary: positions, normals where there are some, `colors` (V, 3) uint8, quads and triangles."""
    columns = [(("x", "y", "z"), "float", mesh.vertices)]
    if mesh.normals is not None:
        columns.append((("nx", "ny", "nz"), "float", mesh.normals))
    if colors is not None:
        columns.append((("red", "green", "blue"), "uchar", colors))
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(mesh.vertices)}",
              *(f"property {word} {name}" for names, word, _ in columns for name in names),
              *_face_header(len(mesh.faces) - mesh.quads)]
    form = np.dtype([(name, "<" + _TYPES[word]) for names, word, _ in columns for name in names])
    first, second = mesh.faces[:2 * mesh.quads:2], mesh.faces[1:2 * mesh.quads:2]
    triangles = mesh.faces[2 * mesh.quads:]
    with open(path, "wb") as file:
        file.write("\n".join(header).encode())
        for part in _parts(len(mesh.vertices)):
            vertices = np.empty(len(mesh.vertices[part]), form)
            for names, _, values in columns:
                for name, column in zip(names, values[part].T, strict=True):
                    vertices[name] = column
            file.write(vertices.tobytes())
        for part in _parts(mesh.quads):
            file.write(_rows(np.column_stack((first[part], second[part, 2]))).tobytes())
        for part in _parts(len(triangles)):
            file.write(_rows(triangles[part]).tobytes())


def in_triangles(data: bytes) -> bytes:
    """A binary PLY with its polygons cut into fans of triangles; what is no such file is given back as it is.

    Only a face's corners are kept of what it has. Colours and all else of the vertices stay.
    """
    end = data.find(b"end_header\n") + len(b"end_header\n")
    lines = data[:end].decode("ascii", "replace").split("\n")
    forms = {"format binary_little_endian 1.0": "<", "format binary_big_endian 1.0": ">"}
    order = next((forms[line] for line in lines if line in forms), None)
    starts = [i for i, line in enumerate(lines) if line.startswith("element ")]
    elements = [lines[i:j] for i, j in zip(starts, [*starts[1:], len(lines)], strict=True)]
    names = [element[0].split()[1] for element in elements]
    if order is None or names[:2] != ["vertex", "face"]:
        return data
    (vertex, length), (face, count) = [(_properties(e), int(e[0].split()[2])) for e in elements[:2]]
    lists = [i for i, kinds in enumerate(face) if len(kinds) == 2]
    if len(lists) != 1 or any(len(kinds) == 2 for kinds in vertex):
        return data
    first = end + length * sum(np.dtype(kinds[0]).itemsize for kinds in vertex)
    before = sum(np.dtype(kinds[0]).itemsize for kinds in face[:lists[0]])
    after = sum(np.dtype(kinds[0]).itemsize for kinds in face[lists[0] + 1:])
    size, index = (np.dtype(order + kind) for kind in face[lists[0]])
    if size.itemsize != 1 or len(data) == first + count * (before + 1 + 3 * index.itemsize + after):
        return data  # triangles already
    polygons, place = [], first + before
    for _ in range(count):
        polygons.append((place + 1, data[place]))  # IndexError where it is cut short
        place += 1 + data[place] * index.itemsize + after + before
    triangles = _fans(np.frombuffer(data, np.uint8), np.array(polygons).reshape(-1, 2), index)
    rows = _rows(triangles, order)
    header = [*lines[:starts[1]], *_face_header(len(rows))]
    return "\n".join(header).encode() + data[end:first] + rows.tobytes()


def _fans(data: np.ndarray, polygons: np.ndarray, index: np.dtype) -> np.ndarray:
    """Triangles (T, 3) of polygons (N, 2), of each the byte where its indices begin and how many it has."""
    triangles, rank = [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)]
    for corners in np.unique(polygons[:, 1]):
        chosen = np.flatnonzero(polygons[:, 1] == corners)
        held = data[polygons[chosen, :1] + np.arange(corners * index.itemsize)].reshape(len(chosen), -1)
        held = np.ascontiguousarray(held).view(index).astype(np.int64)
        for i in range(1, corners - 1):
            triangles.append(held[:, [0, i, i + 1]])
            rank.append(chosen)
    return np.concatenate(triangles)[np.argsort(np.concatenate(rank), kind="stable")]


def _parts(count: int) -> Iterator[slice]:
    """Rows that are written at once: a copy of the whole mesh would be large."""
    return (slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE))


def _rows(corners: np.ndarray, order: str = "<") -> np.ndarray:
    """Polygons (N, k) as the file holds them."""
    rows = np.empty(len(corners), [("count", "u1"), ("corners", order + "i4", corners.shape[1])])
    rows["count"], rows["corners"] = corners.shape[1], corners
    return rows


def _face_header(count: int) -> list[str]:
    return [f"element face {count}", "property list uchar int vertex_indices", "end_header\n"]


def _properties(element: list[str]) -> list[list[str]]:
    """Of each property its type, or a list's two."""
    words = [line.split() for line in element if line.startswith("property ")]
    return [[_TYPES[kind] for kind in (row[2:4] if row[1] == "list" else row[1:2])] for row in words]
