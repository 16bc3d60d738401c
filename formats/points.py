"""Sparse points of a reconstruction from a PLY file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..recipes.errors import InputError

_TYPES = {"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
          "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
          "double": "f8", "float64": "f8"}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def read_ply_points(path: Path) -> np.ndarray:
    """Positions of a PLY file's vertices, (N, 3) float64, those with NaN left out; InputError where it has none.

    The vertices are the file's first element, as every writer of point clouds has them.
    """
    try:
        data = path.read_bytes()
        head, mark, body = data.partition(b"end_header\n")
        if not mark:
            head, mark, body = data.partition(b"end_header\r\n")
        lines = [line.split() for line in head.decode("ascii").splitlines()]
        order = _ORDERS[next(words[1] for words in lines if words[:1] == ["format"])]
        first = next(i for i, words in enumerate(lines) if words[:1] == ["element"])
        count = int(lines[first][2])
        properties = []
        for words in lines[first + 1:]:
            if words[:1] == ["element"]:
                break
            if words[:1] == ["property"]:
                properties.append((words[-1], order + _TYPES[words[1]]))
        if order:
            vertices = np.frombuffer(body, dtype=properties, count=count)
            points = np.stack([vertices[axis] for axis in "xyz"], axis=1).astype(np.float64)
        else:
            names = [name for name, _ in properties]
            rows = [line.split() for line in body.decode("ascii").splitlines()[:count]]
            points = np.array(rows, dtype=np.float64).reshape(count, len(names))[:, [names.index(a) for a in "xyz"]]
    except (OSError, ValueError, KeyError, IndexError, StopIteration, TypeError) as error:
        raise InputError(f"points: {path} is not a PLY file with x, y, z ({error}); mend or remove it") from error
    return points[np.isfinite(points).all(axis=1)]
