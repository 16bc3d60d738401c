"""Fields as files, of whatever kind: what a capture leaves beside its mesh, to be rendered from anywhere later.

A field's class says by `tensors` and `about` what it is made of, and is made anew by `from_tensors`. Its kind is the
name of the module of this package that it stands in. The file is `formats.model`'s: tensors in single precision are
stored in half, which moves a picture by less than its 8 bits (a test says so), and take half of the room.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ...formats.fields import KIND
from ...formats.model import Model, check_kind, read_model, write_model
from ...recipes.errors import InputError
from .common import Field


def save(field: Field, path: Path) -> None:
    """Write a file that `load` reads."""
    arrays = {name: value.detach().cpu().numpy() for name, value in field.tensors().items()}
    kind = type(field).__module__.rpartition(".")[2]
    write_model(Model(arrays, {"kind": KIND, "field": kind, "about": field.about()}), path)


def load(path: Path, device: torch.device) -> Field:
    """Read what `save` has written; InputError in one line where the file is anything else, or damaged."""
    check_kind(path, KIND, "render")
    model = read_model(path)
    cls = _class(model.about.get("field"), path)
    tensors = {name: torch.from_numpy(values).to(device) for name, values in model.arrays.items()}
    try:
        return cls.from_tensors(tensors, model.about["about"])
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError, RuntimeError) as error:
        raise InputError(f"field: {path} does not fit together ({type(error).__name__}: {error}); capture it anew"
                         .replace("\n", " ")) from error


def _class(kind: Any, path: Path) -> type[Field]:
    """The class of fields of this kind, which an untrusted file names."""
    if kind in [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]:
        module = import_module(f".{kind}", __package__)
        for value in vars(module).values():
            own = isinstance(value, type) and value.__module__ == module.__name__ and value is not Field
            if own and hasattr(value, "from_tensors"):
                return value
    raise InputError(f"field: {path} is a field of kind {kind!r}, which this Maquette does not know; "
                     "use the one that made it")
