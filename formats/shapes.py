"""Many meshes to learn from, as a job's input: all mesh files of the given folders, each by its name.

They keep their colours, textures and texture coordinates, and their vertices as the files have them: one that a file
repeats to give it two colours would lose one of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..recipes import Recipe
from ..recipes.errors import InputError
from .mesh import Mesh, read_npz, write_npz
from .meshes import READABLE, read_mesh
from .paths import natural

LIST = "shapes.json"


def gather_shapes(paths: Sequence[Path], input_folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Write input/00000.npz and so on, and their names; a mesh that cannot be read is left out and named."""
    named = [entry for path in paths for entry in _found(path)]
    if not named:
        given = ", ".join(map(str, paths)) or "none is given"
        raise InputError(f"input: no meshes are found ({given}); give folders with {' '.join(READABLE)}")
    refused: list[str] = []

    def read() -> Iterator[tuple[str, Mesh]]:
        for name, path in named:
            try:
                yield name, read_mesh(path, weld=False)
            except InputError as error:
                refused.append(str(error))

    summary = write_shapes(read(), input_folder, refused)
    if not summary["shapes"]:
        raise InputError(f"input: none of the {len(named)} meshes can be read (first: {refused[0]})")
    return summary


def write_shapes(shapes: Iterable[tuple[str, Mesh]], input_folder: Path, refused: Sequence[str] = ()) -> dict[str, Any]:
    """Write meshes with their names as a job's input; `refused` are lines about those that are left out."""
    input_folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for name, mesh in shapes:
        write_npz(replace(mesh, normals=None), input_folder / f"{len(names):05d}.npz")
        names.append(name)
    (input_folder / LIST).write_text(json.dumps({"names": names, "refused": list(refused)}), encoding="utf-8")
    return {"shapes": len(names)}


def read_names(input_folder: Path) -> tuple[list[str], list[str]]:
    """The shapes' names, FOLDER/STEM, and the lines about the files that were refused."""
    about = json.loads((input_folder / LIST).read_text(encoding="utf-8"))
    return about["names"], about["refused"]


def read_shape(input_folder: Path, number: int) -> Mesh:
    return read_npz(input_folder / f"{number:05d}.npz")


def _found(path: Path) -> list[tuple[str, Path]]:
    if not path.exists():
        raise InputError(f"input: {path} does not exist; give a folder with meshes")
    if path.is_file():
        return [(f"{path.resolve().parent.name}/{path.stem}", path)]
    folder = path.resolve().name
    files = sorted((p for p in path.rglob("*") if p.suffix.lower() in READABLE and p.is_file()),
                   key=lambda p: natural(str(p.relative_to(path))))
    return [((Path(folder) / p.relative_to(path)).with_suffix("").as_posix(), p) for p in files]
