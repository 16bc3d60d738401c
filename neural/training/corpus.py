"""Many models to learn from, each made a subject once and kept in a folder that training maps into memory.

The folder, which all trainings share, has KEY.npy for each model, a `subject` record, or KEY.txt, the line that says
why it is left out; the key is a hash of the model. Each file is there complete or not at all, and a preparation that
was killed goes on where it was. Which models a training has is in an index of its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...formats.mesh import Mesh
from ...formats.shapes import read_names, read_shape
from ...jobs import files
from .subject import Unfit, subject_of
from .twins import twin_groups

# Words of a name that tell variants of one model apart.
_COLORS = frozenset("black blue brown cyan gold golden gray green grey orange pink purple red silver violet white "
                    "yellow dark light".split())


@dataclass(frozen=True)
class Entry:
    """What the index says of a model."""

    name: str  # FOLDER/STEM
    key: str  # of its file
    family: str  # the folder's name
    draw: float  # 0 to 1: it is held out where the share is greater
    symmetry: tuple[float, float]  # how like itself mirrored at x = 0 and at y = 0
    faces: int


class Corpus:
    """The models of an index, whose subjects are in a folder."""

    def __init__(self, index_file: Path, folder: Path) -> None:
        self.folder = folder
        index = json.loads(index_file.read_text(encoding="utf-8"))
        self.entries = [Entry(**{**entry, "symmetry": tuple(entry["symmetry"])}) for entry in index["models"]]
        self.left_out: list[str] = index["left_out"]  # a line for each

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> np.void:
        """The `subject` record of a model, mapped from its file."""
        return np.load(self.folder / f"{self.entries[index].key}.npy", mmap_mode="r")[0]

    @cached_property
    def families(self) -> list[str]:
        return sorted({entry.family for entry in self.entries})

    def split(self, held_out_percent: float) -> tuple[list[int], list[int]]:
        """The models to train on and those that are held out; what is near to a training model is never held out."""
        sides: tuple[list[int], list[int]] = [], []
        for index, entry in enumerate(self.entries):
            sides[100 * entry.draw < held_out_percent].append(index)
        return sides


def prepare(input_folder: Path, cache: Path, index: Path,
            on_progress: Callable[[float], None] = lambda fraction: None) -> Corpus:
    """Make subjects of the meshes of a job's input (`formats.shapes`) in `cache`; what is there already is kept.

    index: the file that says which they are; where it is there, it counts.
    """
    if not index.exists():
        cache.mkdir(parents=True, exist_ok=True)
        names, _ = read_names(input_folder)
        keys = []
        for number in range(len(names)):
            keys.append(_prepared(input_folder, cache, number))
            on_progress((number + 1) / len(names))
        _write_index(names, keys, cache, index)
    return Corpus(index, cache)


def group_of(name: str) -> str:
    """What the names of one model's variants have in common: FOLDER/STEM without digits, colours and single letters."""
    family, _, stem = name.rpartition("/")
    words = [word for word in re.split(r"[^a-z]+", stem.lower()) if len(word) > 1 and word not in _COLORS]
    return f"{Path(family).name}/{'-'.join(words) or stem}"


def draw_of(group: str) -> float:
    """A number from 0 to 1 that depends on the group's name alone."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8]) / 2**64


def key_of(mesh: Mesh) -> str:
    """A hash of all that a mesh is made of."""
    content = hashlib.sha256()
    for name, value in vars(mesh).items():
        content.update(f"{name} {getattr(value, 'shape', value)}".encode())
        content.update(value.tobytes() if isinstance(value, np.ndarray) else b"")
    return content.hexdigest()[:24]


def _prepared(input_folder: Path, cache: Path, number: int) -> str:
    """Make one subject unless it is there; its key."""
    mesh = read_shape(input_folder, number)
    key = key_of(mesh)
    record, why = cache / f"{key}.npy", cache / f"{key}.txt"
    if not record.exists() and not why.exists():
        try:
            content = io.BytesIO()
            np.save(content, subject_of(mesh), allow_pickle=False)
            files.atomic_write(record, content.getvalue())
        except Unfit as error:
            files.atomic_write(why, str(error).encode())
    return key


def _write_index(names: Sequence[str], keys: Sequence[str], cache: Path, index: Path) -> None:
    fit = [number for number, key in enumerate(keys) if (cache / f"{key}.npy").exists()]
    records = [np.load(cache / f"{keys[number]}.npy", mmap_mode="r")[0] for number in fit]
    groups = [group_of(names[number]) for number in fit]
    # One side for a group and all that are nearly equal to any of it: held out where all of these would be.
    draws = np.array([draw_of(group) for group in groups])
    together = twin_groups(records, groups)
    greatest = np.zeros(max(together, default=-1) + 1)
    np.maximum.at(greatest, together, draws)
    models = [{"name": names[number], "key": keys[number], "family": Path(names[number]).parent.name,
               "draw": float(greatest[component]), "symmetry": record["symmetry"].tolist(),
               "faces": len(record["corners"])}
              for number, record, component in zip(fit, records, together, strict=True)]
    left_out = [f"{name}: {why.read_text(encoding='utf-8')} and is left out"
                for name, key in zip(names, keys, strict=True) if (why := cache / f"{key}.txt").exists()]
    files.write_json(index, {"models": models, "left_out": left_out})
