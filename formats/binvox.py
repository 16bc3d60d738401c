"""Binvox files (Patrick Min): run-length coded occupancies of a cube of voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..recipes.errors import InputError

_HEADER_BYTES = 4096


def read_size(path: Path) -> tuple[int, int, int]:
    """Voxels along x, y and z, from the header alone."""
    return _header(path)[0]


def read_binvox(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (X, Y, Z) bool and world_from_grid (4, 4), which takes a voxel's indices to its centre.

    In the file y runs fastest, then z, then x. Axes are the file's own: it does not say which one is up.
    """
    size, translate, scale, start = _header(path)
    data = np.fromfile(path, np.uint8, offset=start)
    values, counts = data[:len(data) // 2 * 2].reshape(-1, 2).T
    total = int(counts.sum(dtype=np.int64))
    if total != np.prod(size):
        raise InputError(f"grid: {path} holds {total} voxels, its header says {' × '.join(map(str, size))}; "
                         "it may be cut short, write it again")
    x, y, z = size
    voxels = np.repeat(values != 0, counts).reshape(x, z, y).transpose(0, 2, 1)
    # The box's longest side is `scale`; a voxel is a cube.
    cell = scale / max(size)
    world_from_grid = np.diag([cell, cell, cell, 1.0])
    world_from_grid[:3, 3] = np.array(translate) + cell / 2
    return np.ascontiguousarray(voxels), world_from_grid


def write_binvox(voxels: np.ndarray, path: Path, translate: tuple[float, float, float] = (0, 0, 0),
                 scale: float = 1.0) -> None:
    """Write voxels (X, Y, Z) bool; `scale` is the length of the box's longest side, `translate` its lower corner."""
    flat = np.ascontiguousarray(voxels.transpose(0, 2, 1)).reshape(-1).astype(np.uint8)
    begin = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
    length = np.diff(np.append(begin, len(flat)))
    pieces = -(-length // 255)  # a run is counted in a byte
    value = np.repeat(flat[begin], pieces)
    count = np.full(len(value), 255, np.uint8)
    count[np.cumsum(pieces) - 1] = length - 255 * (pieces - 1)
    header = (f"#binvox 1\ndim {' '.join(map(str, (voxels.shape[0], voxels.shape[2], voxels.shape[1])))}\n"
              f"translate {' '.join(f'{t:.9g}' for t in translate)}\nscale {scale:.9g}\ndata\n")
    path.write_bytes(header.encode() + np.column_stack((value, count)).tobytes())


def _header(path: Path) -> tuple[tuple[int, int, int], list[float], float, int]:
    """Size along x, y, z, translation, scale and where the data begins."""
    with open(path, "rb") as file:
        text = file.read(_HEADER_BYTES)
    head, found, _ = text.partition(b"\ndata\n")
    if not text.startswith(b"#binvox") or not found:
        raise InputError(f"grid: {path} is not a binvox file (no header); write it again")
    words = {w[0]: w[1:] for line in head.decode("ascii", "replace").splitlines() if (w := line.split())}
    try:
        depth, height, width = (int(w) for w in words["dim"])  # x, z, y
        translate = [float(w) for w in words.get("translate", ("0", "0", "0"))]
        scale = float(words.get("scale", ["1"])[0])
    except (KeyError, ValueError) as error:
        raise InputError(f"grid: {path} has a header without readable dim, translate and scale; "
                         "write it again") from error
    if min(depth, height, width) < 1 or len(translate) != 3 or not np.isfinite([*translate, scale]).all() or scale <= 0:
        raise InputError(f"grid: {path} has dim {depth} {height} {width}, translate {translate}, scale {scale}; "
                         "write it again with a volume")
    return (depth, width, height), translate, scale, len(head) + len(found)
