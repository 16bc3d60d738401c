"""A mesh and the pictures that show it, as the input of a job that textures it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes import Recipe
from ..recipes.errors import InputError
from ..recipes.texture import Texture
from .mesh import Mesh, write_npz
from .meshes import read_mesh

MESH = "mesh.npz"
LOOPS = "loops.npz"  # from Blender: which of its loops each corner is, so that UVs find their way back


def read_untextured(paths: Sequence[Path], recipe: Recipe) -> tuple[Mesh, Path]:
    """The mesh without its own texture, and where the capture is. InputError where one of them is missing."""
    assert isinstance(recipe, Texture)
    if len(paths) != 1:
        raise InputError(f"input: {len(paths)} inputs are given; {' '.join(recipe.words())} takes one, a mesh")
    if not recipe.capture:
        raise InputError("capture: none is given; name a transforms.json or the folder of a capture")
    if not Path(recipe.capture).exists():
        raise InputError(f"capture: {recipe.capture} does not exist; give a transforms.json or a capture's folder")
    return replace(read_mesh(paths[0]), corner_uvs=None, texture=None, normal_map=None, colors=None), \
        Path(recipe.capture)


def write(mesh: Mesh, folder: Path, loops: np.ndarray | None = None, count: int = 0) -> None:
    """Write the mesh, and where it is Blender's which of its `count` loops the corners (F, 3) are."""
    folder.mkdir(parents=True, exist_ok=True)
    write_npz(mesh, folder / MESH)
    if loops is not None:
        np.savez(folder / LOOPS, loops=loops, count=count)


def read_loops(folder: Path) -> tuple[np.ndarray, int]:
    """The loops (F, 3) and how many the object had."""
    with np.load(folder / LOOPS, allow_pickle=False) as arrays:
        return arrays["loops"], int(arrays["count"])
