"""What comes of a photo: one or several meshes, and the camera that sees them as the photo does."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..recipes.errors import InputError
from .capture import Camera
from .mesh import Mesh, read_npz, write_npz

FILE = "objects.json"
FORMAT = 1


@dataclass(frozen=True)
class Objects:
    """Meshes in the world of a photo's camera, which is a pinhole; the ground lies at z = 0."""

    meshes: tuple[Mesh, ...]  # the largest in the photo first
    camera: Camera
    world_from_camera: np.ndarray  # (4, 4) float64
    photo: Path  # as it is to be seen behind the meshes


def write(objects: Objects, folder: Path) -> None:
    """Write objects.json and each mesh's .npz into a folder, where the photo lies already."""
    names = [f"object_{number:03d}.npz" for number in range(len(objects.meshes))]
    for name, mesh in zip(names, objects.meshes, strict=True):
        write_npz(mesh, folder / name)
    about = {"format": FORMAT, "meshes": names, "camera": asdict(objects.camera), "photo": objects.photo.name,
             "world_from_camera": np.asarray(objects.world_from_camera).tolist()}
    (folder / FILE).write_text(json.dumps(about), encoding="utf-8")


def read(path: Path) -> Objects:
    """Read objects.json and what it names; InputError where something is missing, damaged or of another version."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise InputError(f"objects: {path} has format {about['format']!r}; this version reads {FORMAT}")
        folder = path.parent
        meshes = tuple(read_npz(folder / Path(name).name) for name in about["meshes"])
        return Objects(meshes, Camera(**about["camera"]), np.array(about["world_from_camera"]),
                       folder / Path(about["photo"]).name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"objects: {path} cannot be read ({type(error).__name__}: {error}); run the job again"
                         ) from error
