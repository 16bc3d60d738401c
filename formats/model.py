"""The file of a trained model: safetensors, whose header says what it is; read without torch and without safetensors.

The form is public (huggingface/safetensors): the header's length in 8 bytes, a header in JSON with each array's type,
shape and place, then the arrays. Nothing in it can be run. What Maquette needs beside the arrays stands as one JSON
text under `maquette` in the header's `__metadata__`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..recipes import Recipe
from ..recipes.errors import InputError

VERSION = 1
FILE = "model.safetensors"
SHIPPED = Path(__file__).resolve().parents[1] / "neural" / "weights"
_TYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"), "U8": np.dtype("u1")}
_MOST_HEADER = 100 * 2**20  # bytes, safetensors' own limit


@dataclass(frozen=True)
class Model:
    """What training on many shapes leaves: arrays by name, and what they are."""

    arrays: dict[str, np.ndarray]
    about: dict[str, Any]  # JSON: kind, architecture, shapes' names, data, licence, training


def find_model(name: str) -> Path:
    """The file of a model by its path, or of one that ships by its name."""
    path = Path(name).expanduser()
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise InputError(f"model: {path} does not exist; check the path")
        return path
    shipped = SHIPPED / f"{name}.safetensors"
    if os.sep in name or not shipped.is_file():
        there = " ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors"))) or "none"
        raise InputError(f"model: {name!r} is neither a .safetensors file nor a model that ships ({there}); give one")
    return shipped


def take_model(recipe: Recipe, input_folder: Path) -> None:
    """Bring the model that a recipe names, if it names one, into a job's input; a damaged one is refused here."""
    name = recipe.to_json().get("model")
    if name:
        path = find_model(name)
        if recipe.model_kind:
            check_kind(path, recipe.model_kind, " ".join(recipe.words()))
        elif "maquette" in (_header(path)[0].get("__metadata__") or {}):
            raise InputError(f"model: {path} is Maquette's own, and {' '.join(recipe.words())} takes weights of "
                             "another program; give such")
        input_folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, input_folder / FILE)


def check_kind(path: Path, kind: str, task: str) -> None:
    """Raise InputError where a model is not of the kind that a task takes."""
    found = read_about(path).get("kind")
    if found != kind:
        raise InputError(f"model: {path} is a model of kind {found!r}, and {task} takes one of kind {kind!r}; "
                         "give another")


def read_about(path: Path) -> dict[str, Any]:
    """What a model is, from its header alone; InputError in one line where it is damaged or none of Maquette's."""
    return _about(_header(path)[0], path)


def read_model(path: Path) -> Model:
    """Read a model, float16 arrays as float32; InputError where it is damaged or none of Maquette's."""
    about = read_about(path)
    return Model(read_arrays(path), about)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file of any program, float16 as float32; InputError where it is damaged."""
    _, entries, start = _header(path)
    data = path.read_bytes()[start:]
    arrays = {}
    for name, entry in entries.items():
        kind, (low, high) = _TYPES[entry["dtype"]], entry["data_offsets"]
        values = np.frombuffer(data[low:high], kind).reshape(entry["shape"])
        if kind.kind == "f" and not np.isfinite(values).all():
            raise InputError(f"model: {path} has values in {name} that are not finite; train it again")
        arrays[name] = values.astype(np.float32) if kind == np.float16 else values.copy()
    return arrays


def write_model(model: Model, path: Path) -> None:
    """Write a model; floats as float16."""
    about = {"maquette": json.dumps({"version": VERSION, **model.about})}
    header: dict[str, Any] = {"__metadata__": about}
    blobs, place = [], 0
    for name, values in model.arrays.items():
        values = np.asarray(values, np.float16 if values.dtype.kind == "f" else values.dtype)
        kind = next(word for word, dtype in _TYPES.items() if dtype == values.dtype)
        blobs.append(values.tobytes())
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [place, place + len(blobs[-1])]}
        place += len(blobs[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of 8
    path.write_bytes(b"".join((len(text).to_bytes(8, "little"), text, *blobs)))


def _header(path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The header, the arrays' entries in it, and where the arrays begin; the file's length is checked."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MOST_HEADER, max(size - 8, 0)):
                raise InputError(f"model: {path} is not a safetensors file, or is cut short ({size} bytes); "
                                 "download or train it again")
            header = json.loads(file.read(length))
    except OSError as error:
        raise InputError(f"model: {path} cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"model: {path} is not a safetensors file; give one that Maquette has made") from error
    if not isinstance(header, dict):
        raise InputError(f"model: {path} has a damaged header; download or train it again")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = _end(entries)
    if end is None:
        raise InputError(f"model: {path} has a damaged header; download or train it again")
    if size != 8 + length + end:
        raise InputError(f"model: {path} has {size} bytes and {8 + length + end} are expected; it is damaged or cut "
                         "short, download or train it again")
    return header, entries, 8 + length


def _about(header: Any, path: Path) -> dict[str, Any]:
    try:
        about = json.loads(header["__metadata__"]["maquette"])
        version = about["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"model: {path} is a safetensors file of another program; give one that "
                         "Maquette has made") from error
    if version != VERSION:
        raise InputError(f"model: {path} has version {version!r} of the format and {VERSION} is read; "
                         "use the Maquette that made it, or train it again")
    return about


def _end(entries: dict[str, Any]) -> int | None:
    """How many bytes the arrays take, None where they do not follow each other or are not what their entries say."""
    try:
        place = 0
        for entry in sorted(entries.values(), key=lambda entry: entry["data_offsets"]):
            low, high = entry["data_offsets"]
            length = math.prod(int(side) for side in entry["shape"]) * _TYPES[entry["dtype"]].itemsize
            if low != place or high - low != length or min(entry["shape"], default=0) < 0:
                return None
            place = high
    except (KeyError, TypeError, ValueError):
        return None
    return place
