"""What tasks leave in a job's output/ by the form of their result, and how that becomes the file that a user wants."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import morph, octree
from .mesh import read_npz
from .meshes import write_mesh
from .volume import OCTREE


@dataclass(frozen=True)
class Form:
    """One form of results. `write` makes of `file` in output/ the user's file, in the form of that one's ending."""

    file: str
    write: Callable[[Path, Path], object]


def _write_mesh(source: Path, path: Path) -> None:
    write_mesh(read_npz(source), path)


def _write_volume(source: Path, path: Path) -> None:
    if path.suffix.lower() == octree.ENDING:
        shutil.copyfile(source.with_name(OCTREE), path)
    else:
        _write_mesh(source, path)


def _write_morph(source: Path, path: Path) -> None:
    morph.write_morph(morph.read_npz(source), path)


# By the recipe's `output`.
FORMS = {
    "mesh": Form("mesh.npz", _write_mesh),
    "volume": Form("mesh.npz", _write_volume),
    "morph": Form("morph.npz", _write_morph),
    "picture": Form("picture.png", shutil.copyfile),
    "model": Form("model.safetensors", shutil.copyfile),
}
