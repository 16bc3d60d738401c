"""Many models to learn from, each made a subject once and kept in a folder that training maps into memory.

The folder has NNNNN.npy for each model of a job's input, a `subject` record, or NNNNN.txt, the line that says why it
is left out; and at the end index.json, by which it is read. Each file is there complete or not at all, and a
preparation that was killed goes on where it was.
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

from ...formats.shapes import read_names, read_shape
from ...jobs import files
from .subject import Unfit, subject_of
from .twins import twin_groups

INDEX = "index.json"
# Words of a name that tell variants of one model apart.
_COLORS = frozenset("black blue brown cyan gold golden gray green grey orange pink purple red silver violet white "
                    "yellow dark light".split())


@dataclass(frozen=True)
class Entry:
    """What the index says of a model."""

    name: str  # FOLDER/STEM
    number: int  # of its file
    family: str  # the folder's name
    draw: float  # 0 to 1: it is held out where the share is greater
    symmetry: tuple[float, float]  # how like itself mirrored at x = 0 and at y = 0
    faces: int


class Corpus:
    """The models of a prepared folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self.entries = [Entry(**{**entry, "symmetry": tuple(entry["symmetry"])}) for entry in index["models"]]
        self.left_out: list[str] = index["left_out"]  # a line for each

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> np.void:
        """The `subject` record of a model, mapped from its file."""
        return np.load(self.folder / f"{self.entries[index].number:05d}.npy", mmap_mode="r")[0]

    @cached_property
    def families(self) -> list[str]:
        return sorted({entry.family for entry in self.entries})

    def split(self, held_out_percent: float) -> tuple[list[int], list[int]]:
        """The models to train on and those that are held out; what is near to a training model is never held out."""
        sides: tuple[list[int], list[int]] = [], []
        for index, entry in enumerate(self.entries):
            sides[100 * entry.draw < held_out_percent].append(index)
        return sides


def prepare(input_folder: Path, cache: Path, on_progress: Callable[[float], None] = lambda fraction: None) -> Corpus:
    """Make subjects of the meshes of a job's input (`formats.shapes`) in `cache`; what is there already is kept."""
    cache.mkdir(parents=True, exist_ok=True)
    names, _ = read_names(input_folder)
    if not (cache / INDEX).exists():
        for number in range(len(names)):
            _prepare_one(input_folder, cache, number)
            on_progress((number + 1) / len(names))
        _write_index(names, cache)
    return Corpus(cache)


def group_of(name: str) -> str:
    """What the names of one model's variants have in common: FOLDER/STEM without digits, colours and single letters."""
    family, _, stem = name.rpartition("/")
    words = [word for word in re.split(r"[^a-z]+", stem.lower()) if len(word) > 1 and word not in _COLORS]
    return f"{Path(family).name}/{'-'.join(words) or stem}"


def draw_of(group: str) -> float:
    """A number from 0 to 1 that depends on the group's name alone."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8]) / 2**64


def _prepare_one(input_folder: Path, cache: Path, number: int) -> None:
    record, why = cache / f"{number:05d}.npy", cache / f"{number:05d}.txt"
    if record.exists() or why.exists():
        return
    try:
        content = io.BytesIO()
        np.save(content, subject_of(read_shape(input_folder, number), seed=number), allow_pickle=False)
        files.atomic_write(record, content.getvalue())
    except Unfit as error:
        files.atomic_write(why, str(error).encode())


def _write_index(names: Sequence[str], cache: Path) -> None:
    numbers = [number for number in range(len(names)) if (cache / f"{number:05d}.npy").exists()]
    records = [np.load(cache / f"{number:05d}.npy", mmap_mode="r")[0] for number in numbers]
    groups = [group_of(names[number]) for number in numbers]
    # One side for a group and all that are nearly equal to any of it: held out where all of these would be.
    draws = np.array([draw_of(group) for group in groups])
    together = twin_groups(records, groups)
    greatest = np.zeros(max(together, default=-1) + 1)
    np.maximum.at(greatest, together, draws)
    models = [{"name": names[number], "number": number, "family": Path(names[number]).parent.name,
               "draw": float(greatest[component]), "symmetry": record["symmetry"].tolist(),
               "faces": len(record["corners"])}
              for number, record, component in zip(numbers, records, together, strict=True)]
    left_out = [f"{name}: {why.read_text(encoding='utf-8')} and is left out" for number, name in enumerate(names)
                if (why := cache / f"{number:05d}.txt").exists()]
    files.write_json(cache / INDEX, {"models": models, "left_out": left_out})
