"""Meshes that pass into each other, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .mesh import Mesh
from .meshes import write_mesh

# Room between two steps that stand in a row, as a share of the widest.
_ROOM = 0.2


@dataclass(frozen=True)
class Morph:
    """The steps in order. `shared` says that all have the same faces, so that vertices alone move."""

    steps: Sequence[Mesh]
    shared: bool


def write_npz(morph: Morph, path: Path) -> None:
    """The job folder's own form: `vertices` (N, V, 3) and `faces`, or vertices_000, faces_000 and so on."""
    if morph.shared:
        np.savez(path, vertices=np.stack([step.vertices for step in morph.steps]), faces=morph.steps[0].faces)
        return
    arrays = {f"{name}_{number:03d}": getattr(step, name) for number, step in enumerate(morph.steps)
              for name in ("vertices", "faces")}
    np.savez(path, **arrays)


def read_npz(path: Path) -> Morph:
    with np.load(path, allow_pickle=False) as arrays:
        if "faces" in arrays:
            return Morph([Mesh(vertices, arrays["faces"]) for vertices in arrays["vertices"]], True)
        count = sum(name.startswith("faces_") for name in arrays.files)
        return Morph([Mesh(arrays[f"vertices_{number:03d}"], arrays[f"faces_{number:03d}"])
                      for number in range(count)], False)


def write_morph(morph: Morph, path: Path) -> None:
    """All steps in a row in one mesh file, and beside it each for itself as STEM_000, STEM_001 and so on."""
    write_mesh(in_a_row(morph), path)
    for number, step in enumerate(morph.steps):
        write_mesh(step, path.with_name(f"{path.stem}_{number:03d}{path.suffix}"))


def in_a_row(morph: Morph) -> Mesh:
    """The steps side by side along x, the first in its own place."""
    vertices, faces, along, first = [], [], 0.0, 0
    room = _ROOM * max(float(np.ptp(step.vertices[:, 0])) for step in morph.steps)
    for number, step in enumerate(morph.steps):
        low, high = float(step.vertices[:, 0].min()), float(step.vertices[:, 0].max())
        shift = along - low if number else 0.0
        vertices.append(step.vertices + np.array([shift, 0, 0], np.float32))
        faces.append(step.faces + first)
        along, first = high + shift + room, first + len(step.vertices)
    return Mesh(np.concatenate(vertices), np.concatenate(faces))
