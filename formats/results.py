"""What tasks leave in a job's output/ by the form of their result, and how that becomes the file that a user wants."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import fields, morph, objects, octree, renders
from .mesh import Mesh, read_npz
from .meshes import joined, write_mesh, write_meshes
from .volume import OCTREE


@dataclass(frozen=True)
class Form:
    """One form of results.

    `write` makes of `file` in output/ the user's file, in the form of that one's ending; `mesh` reads it as one mesh,
    where it is that.
    """

    file: str
    write: Callable[[Path, Path], object]
    mesh: Callable[[Path], Mesh] | None = None


def _write_mesh(source: Path, path: Path) -> None:
    write_mesh(read_npz(source), path)


def _write_volume(source: Path, path: Path) -> None:
    if path.suffix.lower() == octree.ENDING:
        shutil.copyfile(source.with_name(OCTREE), path)
    else:
        _write_mesh(source, path)


def _write_field(source: Path, path: Path) -> None:
    if path.suffix.lower() == ".safetensors":
        shutil.copyfile(source.with_name(fields.FILE), path)
    else:
        _write_mesh(source, path)


def _write_morph(source: Path, path: Path) -> None:
    morph.write_morph(morph.read_npz(source), path)


def _mesh_of_objects(path: Path) -> Mesh:
    return joined(objects.read(path).meshes)


def _write_objects(source: Path, path: Path) -> None:
    write_meshes(objects.read(source).meshes, path)


# By the recipe's `output`.
FORMS = {
    "mesh": Form("mesh.npz", _write_mesh, read_npz),
    "texture": Form("mesh.npz", _write_mesh, read_npz),
    "field": Form("mesh.npz", _write_field, read_npz),
    "volume": Form("mesh.npz", _write_volume, read_npz),
    "morph": Form("morph.npz", _write_morph),
    "objects": Form(objects.FILE, _write_objects, _mesh_of_objects),
    "picture": Form("picture.png", shutil.copyfile),
    "pictures": Form(renders.FOLDER, renders.write_out),
    "model": Form("model.safetensors", shutil.copyfile),
}
